"""Tree and planned layer -> tar members: which bytes a layer's tar consists of."""

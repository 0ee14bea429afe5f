"""Questions about images: what is inside, is it whole?"""

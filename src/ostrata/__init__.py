"""OSTree commits as OCI images whose layers are planned.

The public names; each is imported when it is first used, which keeps `import ostrata` and the command line fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostrata.components.claims import Claims as Claims
    from ostrata.components.claims import claim_paths as claim_paths
    from ostrata.components.components import Components as Components
    from ostrata.components.components import form_components as form_components
    from ostrata.destinations.several import SeveralImages as SeveralImages
    from ostrata.errors import AccessError as AccessError
    from ostrata.errors import DigestMismatchError as DigestMismatchError
    from ostrata.errors import LimitError as LimitError
    from ostrata.errors import MalformedError as MalformedError
    from ostrata.errors import NotFoundError as NotFoundError
    from ostrata.errors import OstrataError as OstrataError
    from ostrata.errors import PlanError as PlanError
    from ostrata.errors import TransferError as TransferError
    from ostrata.errors import UnsupportedError as UnsupportedError
    from ostrata.formats.encapsulated import Layout as Layout
    from ostrata.formats.encapsulated_config import ConfigOptions as ConfigOptions
    from ostrata.inspection.compare import Comparison as Comparison
    from ostrata.inspection.compare import compare as compare
    from ostrata.inspection.inspect import ImageSummary as ImageSummary
    from ostrata.inspection.inspect import summarise as summarise
    from ostrata.inspection.package_changes import PackageChange as PackageChange
    from ostrata.inspection.package_changes import PackageChanges as PackageChanges
    from ostrata.inspection.package_changes import compare_packages as compare_packages
    from ostrata.layers.compressors import compressor as compressor
    from ostrata.model.component import Component as Component
    from ostrata.model.component import ComponentPlan as ComponentPlan
    from ostrata.model.component_map import ComponentMap as ComponentMap
    from ostrata.model.component_map import MapRule as MapRule
    from ostrata.model.package import Package as Package
    from ostrata.model.plan import Contentmeta as Contentmeta
    from ostrata.packages.databases import read_packages as read_packages
    from ostrata.pipeline.build import BuildOptions as BuildOptions
    from ostrata.pipeline.build import BuildResult as BuildResult
    from ostrata.pipeline.build import CommitText as CommitText
    from ostrata.pipeline.build import build_ostree as build_ostree
    from ostrata.pipeline.build import fit_source as fit_source
    from ostrata.pipeline.build_plain import PlainOptions as PlainOptions
    from ostrata.pipeline.build_plain import PlainResult as PlainResult
    from ostrata.pipeline.build_plain import build_plain as build_plain
    from ostrata.pipeline.build_sources import PreparedSource as PreparedSource
    from ostrata.pipeline.build_sources import SourceOptions as SourceOptions
    from ostrata.pipeline.build_sources import prepare as prepare
    from ostrata.pipeline.changelog import Changelog as Changelog
    from ostrata.pipeline.changelog import changelog as changelog
    from ostrata.pipeline.commit import CommitOptions as CommitOptions
    from ostrata.pipeline.commit import CommitResult as CommitResult
    from ostrata.pipeline.commit import commit as commit
    from ostrata.pipeline.encapsulate import EncapsulateOptions as EncapsulateOptions
    from ostrata.pipeline.encapsulate import EncapsulateResult as EncapsulateResult
    from ostrata.pipeline.encapsulate import encapsulate as encapsulate
    from ostrata.pipeline.explain import ComponentShare as ComponentShare
    from ostrata.pipeline.explain import Explanation as Explanation
    from ostrata.pipeline.explain import explain as explain
    from ostrata.pipeline.explain import explain_directory as explain_directory
    from ostrata.pipeline.fitting import Step as Step
    from ostrata.pipeline.fitting import choose_steps as choose_steps
    from ostrata.pipeline.fitting_steps import OSTREE_STEPS as OSTREE_STEPS
    from ostrata.pipeline.fitting_steps import PLAIN_STEPS as PLAIN_STEPS
    from ostrata.pipeline.import_commit import ImportedCommit as ImportedCommit
    from ostrata.pipeline.import_fitting import LeftOut as LeftOut
    from ostrata.pipeline.import_image import ImportedImage as ImportedImage
    from ostrata.pipeline.import_image import import_image as import_image
    from ostrata.pipeline.import_layers import MergedCommit as MergedCommit
    from ostrata.pipeline.labels import LabelOptions as LabelOptions
    from ostrata.pipeline.lint import LintFinding as LintFinding
    from ostrata.pipeline.lint import lint as lint
    from ostrata.pipeline.places import open_destination as open_destination
    from ostrata.pipeline.places import open_image as open_image
    from ostrata.pipeline.places import open_previous as open_previous
    from ostrata.pipeline.places import open_source as open_source
    from ostrata.pipeline.places import read_contentmeta as read_contentmeta
    from ostrata.pipeline.plan import PlanOptions as PlanOptions
    from ostrata.pipeline.plan import PlanSource as PlanSource
    from ostrata.pipeline.plan import TreePlan as TreePlan
    from ostrata.pipeline.plan import open_commit_to_plan as open_commit_to_plan
    from ostrata.pipeline.plan import open_directory_to_plan as open_directory_to_plan
    from ostrata.pipeline.plan import plan_tree as plan_tree
    from ostrata.pipeline.plan import read_component_map as read_component_map
    from ostrata.pipeline.plan import write_contentmeta as write_contentmeta
    from ostrata.pipeline.previous_plan import PreviousPlan as PreviousPlan
    from ostrata.pipeline.previous_plan import read_previous_plan as read_previous_plan
    from ostrata.pipeline.tar_files import ImportedTar as ImportedTar
    from ostrata.pipeline.tar_files import export_tar as export_tar
    from ostrata.pipeline.tar_files import import_tar as import_tar
    from ostrata.pipeline.verify import Verification as Verification
    from ostrata.pipeline.verify import verify as verify
    from ostrata.pipeline.verify_against import TreeVerification as TreeVerification
    from ostrata.pipeline.verify_against import verify_against as verify_against
    from ostrata.progress import SILENT as SILENT
    from ostrata.progress import Progress as Progress
    from ostrata.sources.directory import DirectorySource as DirectorySource
    from ostrata.sources.directory import open_directory as open_directory
    from ostrata.sources.modifiers import Modifiers as Modifiers
    from ostrata.sources.ostree_commit import read_commit_tree as read_commit_tree
    from ostrata.sources.ostree_commit import read_tree as read_tree
    from ostrata.sources.ostree_source import OstreeSource as OstreeSource
    from ostrata.sources.ostree_source import open_commit as open_commit
    from ostrata.sources.selinux import SelinuxPolicy as SelinuxPolicy
    from ostrata.sources.selinux import open_policy as open_policy
    from ostrata.stores.manifests import read_manifest as read_manifest
    from ostrata.stores.ostree_repository import OstreeRepository as OstreeRepository
    from ostrata.stores.ostree_repository import open_repository as open_repository
    from ostrata.stores.ostree_writer import init_repository as init_repository
    from ostrata.stores.reference import ImageReference as ImageReference
    from ostrata.stores.reference import parse_reference as parse_reference
    from ostrata.stores.skopeo import SkopeoOptions as SkopeoOptions

_HOMES = {
    "components.claims": ("Claims", "claim_paths"),
    "components.components": ("Components", "form_components"),
    "destinations.several": ("SeveralImages",),
    "errors": (
        "AccessError",
        "DigestMismatchError",
        "LimitError",
        "MalformedError",
        "NotFoundError",
        "OstrataError",
        "PlanError",
        "TransferError",
        "UnsupportedError",
    ),
    "formats.encapsulated": ("Layout",),
    "formats.encapsulated_config": ("ConfigOptions",),
    "inspection.compare": ("Comparison", "compare"),
    "inspection.inspect": ("ImageSummary", "summarise"),
    "inspection.package_changes": ("PackageChange", "PackageChanges", "compare_packages"),
    "layers.compressors": ("compressor",),
    "model.component": ("Component", "ComponentPlan"),
    "model.component_map": ("ComponentMap", "MapRule"),
    "model.package": ("Package",),
    "model.plan": ("Contentmeta",),
    "packages.databases": ("read_packages",),
    "pipeline.build": ("BuildOptions", "BuildResult", "CommitText", "build_ostree", "fit_source"),
    "pipeline.build_plain": ("PlainOptions", "PlainResult", "build_plain"),
    "pipeline.build_sources": ("PreparedSource", "SourceOptions", "prepare"),
    "pipeline.changelog": ("Changelog", "changelog"),
    "pipeline.commit": ("CommitOptions", "CommitResult", "commit"),
    "pipeline.encapsulate": ("EncapsulateOptions", "EncapsulateResult", "encapsulate"),
    "pipeline.explain": ("ComponentShare", "Explanation", "explain", "explain_directory"),
    "pipeline.fitting": ("Step", "choose_steps"),
    "pipeline.fitting_steps": ("OSTREE_STEPS", "PLAIN_STEPS"),
    "pipeline.import_commit": ("ImportedCommit",),
    "pipeline.import_fitting": ("LeftOut",),
    "pipeline.import_image": ("ImportedImage", "import_image"),
    "pipeline.import_layers": ("MergedCommit",),
    "pipeline.labels": ("LabelOptions",),
    "pipeline.lint": ("LintFinding", "lint"),
    "pipeline.places": ("open_destination", "open_image", "open_previous", "open_source", "read_contentmeta"),
    "pipeline.plan": (
        "PlanOptions",
        "PlanSource",
        "TreePlan",
        "open_commit_to_plan",
        "open_directory_to_plan",
        "plan_tree",
        "read_component_map",
        "write_contentmeta",
    ),
    "pipeline.previous_plan": ("PreviousPlan", "read_previous_plan"),
    "pipeline.tar_files": ("ImportedTar", "export_tar", "import_tar"),
    "pipeline.verify": ("Verification", "verify"),
    "pipeline.verify_against": ("TreeVerification", "verify_against"),
    "progress": ("SILENT", "Progress"),
    "sources.directory": ("DirectorySource", "open_directory"),
    "sources.modifiers": ("Modifiers",),
    "sources.ostree_commit": ("read_commit_tree", "read_tree"),
    "sources.ostree_source": ("OstreeSource", "open_commit"),
    "sources.selinux": ("SelinuxPolicy", "open_policy"),
    "stores.manifests": ("read_manifest",),
    "stores.ostree_repository": ("OstreeRepository", "open_repository"),
    "stores.ostree_writer": ("init_repository",),
    "stores.reference": ("ImageReference", "parse_reference"),
    "stores.skopeo": ("SkopeoOptions",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ostrata' has no attribute '{name}'")
    return getattr(import_module(f"ostrata.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)

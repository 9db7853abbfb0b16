"""Sources: training sets in the formats they come in, read as rows one at a time."""

from __future__ import annotations

from hf_relabel.builders.sources.fields import Context
from hf_relabel.builders.sources.files import SourceFile
from hf_relabel.builders.sources.formats import FORMATS, Format
from hf_relabel.builders.sources.open_source import open_source, source_from_files
from hf_relabel.builders.sources.source import Source
from hf_relabel.builders.sources.source_options import Skipped

__all__ = ["FORMATS", "Context", "Format", "Skipped", "Source", "SourceFile", "open_source", "source_from_files"]

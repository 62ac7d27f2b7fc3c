"""Build, judge and use detectors of AI-generated images.

Plain Python: nothing here imports Streamlit, but for the one command that starts it.
"""

#: The one place of the version: the package, ``--version`` and CHANGELOG.md follow it.
__version__ = "0.1.0"

"""The command line's part that starts the dashboard from wherever it is called."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from detector.settings import CHECKOUT

_PACKAGE = Path(__file__).resolve().parent.parent


def add_serve_command(commands: Any) -> None:
    """Add ``serve`` to the parser's commands."""
    serve = commands.add_parser(
        "serve",
        help="start the dashboard and the HTTP API",
        description="Start the dashboard and the HTTP API. Any further setting of Streamlit's server can be given as a "
        "variable of the environment, such as STREAMLIT_SERVER_BASE_URL_PATH.",
    )
    serve.add_argument("--address", help="address to listen on (default: localhost)")
    serve.add_argument("--port", type=int, help="port to listen on (default: 8501)")
    serve.set_defaults(run=_serve, opens_data=False)


def app_script() -> Path:
    """The script that Streamlit runs: that of the checkout, or of the installed package (see setup.py).

    Streamlit reads ``.streamlit/config.toml`` beside the script, from whatever folder it is started, and after the
    user's own; variables ``STREAMLIT_...`` and flags go before both.
    """
    script = CHECKOUT / "streamlit_app.py"
    return script if script.is_file() else _PACKAGE / "dashboard" / "streamlit_app.py"


def _serve(_ws: None, options: argparse.Namespace) -> int:
    # The one command that needs it: everything else here works without Streamlit.
    from streamlit.web.cli import main

    arguments = ["run", str(app_script())]
    if options.address is not None:
        arguments += ["--server.address", options.address]
    if options.port is not None:
        arguments += ["--server.port", str(options.port)]
    main(arguments, prog_name="streamlit")
    return 0

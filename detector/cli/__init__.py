"""The command line: a door of its own to the same rooms as the dashboard and the HTTP API."""

"""Programs to copy: how to ask this server, filled with its address and one function."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "<token>"
CLIENT_ID = "<client id>"
CLIENT_SECRET = "<client secret>"


@dataclass(frozen=True)
class Examples:
    """What stands in the examples; what is not known is a word in angle brackets.

    Attributes
    ----------
    address : where the app is: scheme, host, port and base path, without a slash at the end
    function_id : without prefix
    """

    address: str
    function_id: str
    token: str = TOKEN
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET

    @property
    def invoke_url(self) -> str:
        """Where the function is invoked."""
        return f"{self.address}/v1/functions/function_{self.function_id}/invoke"

    @property
    def curl(self) -> str:
        return f"curl -H 'Authorization: Bearer {self.token}' \\\n  -F 'data=@image.jpg' \\\n  '{self.invoke_url}'"

    @property
    def python(self) -> str:
        """Six lines with `requests`."""
        return (
            "import requests\n"
            f"url = {self.invoke_url!r}\n"
            f"token = {self.token!r}\n"
            "with open('image.jpg', 'rb') as f:\n"
            "    result = requests.post(url, headers={'Authorization': 'Bearer ' + token}, files={'data': f})\n"
            "print(result.text)"
        )

    @property
    def nyckel(self) -> str:
        """With the package ``nyckel``; it gets and renews tokens itself."""
        return (
            "from nyckel import Credentials, ImageClassificationFunction\n"
            "credentials = Credentials(\n"
            f"    client_id={self.client_id!r},\n"
            f"    client_secret={self.client_secret!r},\n"
            f"    server_url={self.address!r},\n"
            ")\n"
            f"function = ImageClassificationFunction('function_{self.function_id}', credentials)\n"
            "print(function.invoke(['image.jpg']))"
        )

    @property
    def token_request(self) -> str:
        """How a program gets a token of its own."""
        return (
            f"curl -d grant_type=client_credentials \\\n  -d 'client_id={self.client_id}' \\\n"
            f"  -d 'client_secret={self.client_secret}' \\\n  '{self.address}/connect/token'"
        )

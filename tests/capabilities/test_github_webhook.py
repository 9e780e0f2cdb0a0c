"""What GitHub tells of its own accord."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from happy.capabilities.github import signed
from happy.settings.config import Config
from tests.capabilities.asking import Answered
from tests.capabilities.github_case import GitHubCase


def test_signatures() -> None:
    """Only the HMAC of exactly these bytes with exactly this secret is a signature."""
    right = "sha256=" + hmac.new(b"secret", b"content", hashlib.sha256).hexdigest()
    assert signed("secret", b"content", right)
    for wrong in (right.upper(), right[:-1], right[7:], right + " ", "", "sha256=", "sha256=\u00e9"):
        assert not signed("secret", b"content", wrong)
    assert not signed("secret", b"content ", right)
    assert not signed("Secret", b"content", right)


class WebhookTests(GitHubCase):
    async def post(self, content: bytes, signature: str | None = None, **request: Any) -> Answered:
        headers = {"x-hub-signature-256": signature, "x-github-event": "push"} if signature else {}
        return await self.ask(
            "POST", "/v1/connect/github/webhook", content=content, headers=headers, **request
        )

    async def test_signed(self) -> None:
        """An event that carries GitHub's signature is received."""
        content = b'{ "ref" : "main" }'
        signature = "sha256=" + hmac.new(b"hook", content, hashlib.sha256).hexdigest()
        answered = await self.post(content, signature)
        self.assertEqual((answered.status, answered.json), (200, {"received": True}))

    async def test_wrong_signature(self) -> None:
        """An event with another signature is refused as such (D29)."""
        answered = await self.post(b"{}", "sha256=00")
        self.assertEqual((answered.status, answered.json), (401, {"error": "Invalid signature"}))

    async def test_order_of_checks(self) -> None:
        """Headers come first, then the body, then the configuration."""
        text = "Invalid input: expected string, received undefined"
        answered = await self.post(b"{}")
        self.assertEqual(answered.status, 400)
        self.assertEqual(
            answered.json["message"],
            f"headers/x-hub-signature-256 {text}, headers/x-github-event {text}",
        )
        self.change(config=Config())
        answered = await self.post(b"", "sha256=00")
        self.assertEqual((answered.status, answered.json), (500, {"error": "Server configuration error"}))
        answered = await self.post(b"{}", "sha256=00")
        self.assertEqual((answered.status, answered.json), (500, {"error": "Webhooks not configured"}))

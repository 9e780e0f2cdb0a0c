"""A client of Happy servers, for Twisted.

It plays every role: the app, a terminal with its session, a machine's daemon. An app that follows
one session::

    server = RemoteServer("https://happy.example", reactor)
    phone = await sign_in(server, AccountKeys.generate())
    socket = await phone.open_socket()

    pairing = TerminalPairing(server)          # in the terminal, which shows pairing.link
    await phone.approve_terminal(pairing.public_key)
    terminal = await pairing.wait()

    session = await terminal.create_session("tag", {"path": "/home/me"})
    await terminal.send_messages(session, [{"role": "user", "content": "hello"}])
    update = await socket.next_update("new-message")

Everything is sealed end to end; the server sees none of it. Coroutines run under
``twisted.internet.defer.Deferred.fromCoroutine``. Nothing waits for ever: what takes too long raises
``twisted.internet.defer.TimeoutError``.
"""

from happy.client._errors import (
    ClientError,
    Disconnected,
    NotPending,
    Refused,
    RpcFailed,
    SocketRefused,
    Undecryptable,
)
from happy.client.account import Account, sign_in
from happy.client.crypto import (
    AccountKeys,
    Cipher,
    DataKeyCipher,
    Keys,
    LegacyCipher,
    TerminalKeys,
    derive_key,
    open_box,
    seal_box,
)
from happy.client.http import Answer, RemoteServer
from happy.client.pairing import DeviceLinking, TerminalPairing
from happy.client.records import (
    Machine,
    MachineRecord,
    Message,
    MessageRecord,
    Page,
    Receipt,
    Session,
    SessionRecord,
)
from happy.client.rpc import call_sealed, sealed_method
from happy.client.sockets import Scope, Socket, open_socket

__all__ = [
    "Account",
    "AccountKeys",
    "Answer",
    "Cipher",
    "ClientError",
    "DataKeyCipher",
    "DeviceLinking",
    "Disconnected",
    "Keys",
    "LegacyCipher",
    "Machine",
    "MachineRecord",
    "Message",
    "MessageRecord",
    "NotPending",
    "Page",
    "Receipt",
    "Refused",
    "RemoteServer",
    "RpcFailed",
    "Scope",
    "Session",
    "SessionRecord",
    "Socket",
    "SocketRefused",
    "TerminalKeys",
    "TerminalPairing",
    "Undecryptable",
    "call_sealed",
    "derive_key",
    "open_box",
    "open_socket",
    "seal_box",
    "sealed_method",
    "sign_in",
]

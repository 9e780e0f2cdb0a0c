"""Remote calls between the devices of an account, sealed so that the server cannot read them."""

from __future__ import annotations

import inspect
from typing import Any

from happy.client.crypto import Cipher
from happy.client.sockets import Method, Socket, checked


def sealed_method(cipher: Cipher, method: Method) -> Method:
    """A method for :meth:`Socket.register` that opens its parameters and seals its result.

    A failure of ``method`` is answered as a sealed ``{"error": ...}``, as terminals do.
    """

    async def answer(params: str) -> str:
        try:
            result = method(cipher.open(params))
            return cipher.seal(await result if inspect.isawaitable(result) else result)
        except Exception as error:
            return cipher.seal({"error": str(error)})

    return answer


async def call_sealed(
    socket: Socket, cipher: Cipher, method: str, params: Any = None, timeout: float = 60.0
) -> Any:
    """Call a method with sealed parameters and open its result.

    Raises RpcFailed for the server's error as well as for the method's own, and Undecryptable.
    """
    return checked(cipher.open(await socket.rpc(method, cipher.seal(params), timeout)))

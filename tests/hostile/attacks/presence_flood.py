"""Hundreds of machines and sessions of one account that come, go and beat, before many who watch.

A right server tells changes only, each encoded once, and lets others in between.
"""

from tests.hostile.clients import GONE, event
from tests.hostile.scene import Scene, swallow


def attack(scene: Scene) -> str:
    """Sockets of machines that break off and come again, and heartbeats that change with each beat."""
    token = scene.login()
    machines = [f"{number}" for number in range(scene.pick(10, 100))]
    for machine in machines:
        scene.ask("POST", "/v1/machines", {"id": machine, "metadata": "m"}, token)
    sessions = [scene.session(token, tag=f"{number}") for number in range(scene.pick(10, 100))]
    watchers = scene.crowd(scene.pick(30, 200), lambda _: scene.socket(token, timeout=5))
    for watcher in watchers:
        swallow(watcher)
    count = 0
    for number in scene.until(0.3, 15):
        machine, session = machines[number % len(machines)], sessions[number % len(sessions)]
        beats = [
            event("session-alive", {"sid": session, "time": beat, "thinking": bool(beat % 2)})
            + event("session-end", {"sid": session, "time": beat})
            for beat in range(20)
        ]
        try:
            link = scene.socket(token, timeout=5, clientType="machine-scoped", machineId=machine)
            link.write(event("machine-alive", {"machineId": machine, "time": number}) + b"".join(beats))
            link.reset()
            count += 1
        except GONE:
            continue
    for watcher in watchers:
        watcher.close()
    return f"{count} machines came and went before {len(watchers)}"

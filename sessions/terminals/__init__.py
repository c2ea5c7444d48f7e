"""Browser terminals: protocol, flow control and the bridge to the engine's exec streams.

``protocol``, ``flow``, ``launch`` and ``bridge`` know nothing of Django and can be tried by the
thousand; ``consumer`` is the thin edge that asks who may attach and hands both ends to the bridge.
"""

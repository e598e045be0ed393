"""Which rings of one partition were looked for, and so how far it may be committed."""


class Window:
    """One partition for as long as it is ours: Kafka commits a position, not single rings.

    Rings are looked for in the order of their urgency, so they end out of order. The position is
    that of the oldest one that did not end: what came after it may arrive again, and what came
    before it will not.

    Attributes:
        topic: The partition's topic.
        partition: Its number.
        is_ours: False once it went to another worker: what is handed in late is passed over.
    """

    __slots__ = ("_committed", "_next", "_open", "is_ours", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        """Begin with a partition of which nothing was heard."""
        self.topic = topic
        self.partition = partition
        self.is_ours = True
        self._open: dict[int, None] = {}
        self._next = -1
        self._committed = -1

    def heard(self, offset: int) -> None:
        """Note a ring that arrived; offsets rise."""
        self._open[offset] = None
        self._next = offset + 1

    def ended(self, offset: int) -> None:
        """Note a ring that was looked for."""
        self._open.pop(offset, None)

    def advance(self) -> int | None:
        """Return the position to commit, or None if it is that of the last call."""
        position = next(iter(self._open), self._next)
        if position <= self._committed:
            return None
        self._committed = position
        return position

"""Election of the keeper: who leads, for how long it may believe so, and how it lets go.

What is elected, and what is not
    Leadership saves work: one process reaps, fires and purges instead of all of them. It is
    *not* what makes that work safe. Every write of a duty is a compare-and-set (`Store.fire`), a
    fenced take-back (`Store.reap`) or a delete of what has ended (`Store.purge`). Two leaders at
    once cost some queries and nothing else, and a test lets everybody lead at the same time.

States of one candidate
    ``follower``
        Asks ``Store.lead`` a few times per term. None: somebody else leads, stay follower.
        A term: become leader.
    ``leader``
        Asks again before every pass. The same term (same ``elected_at``): go on. Another term:
        ours ran out unnoticed and we were elected anew; everything a new leader does is done
        again. None: somebody else leads, become follower at once.
    ``doubtful``
        A leader whose last question failed (`Unavailable`) or may have been obeyed
        (`OutcomeUnknown`). It goes on asking. It acts only while it is trusted, see below.

The trust window
    The store decides when a term ends, by its own clock, counted from the moment it wrote the
    row: later than we sent the question, and earlier than we read the answer. So a leader trusts
    itself until *sent + term - margin* on its own monotonic clock, never from the time of the
    answer: an answer that was a minute on its way proves nothing about now. The margin pays for
    clocks that run at different speeds and for the pass that begins at the last moment. Past the
    window a leader starts nothing more, whatever it last heard.

Each holder is new
    A candidate's holder name carries 64 random bits. Two processes of one name, or a process that
    was restarted, are two holders: neither can prolong or resign the other's term.

The store's clock
    A term that was just written ends at *store's now + term*, so every answer to a leader also
    tells the store's time, to within the round trip, at no further cost. Duties take the store's
    time from here (`Leader.store_now`), and `stoker.keeper.grace` compares the store's clock with
    ours to notice that one of them jumped.

What happens at each failure
    Process dies: the term runs out in the store; another candidate is elected within
    a term and a third. Process is paused and comes back: the trust window is over, it asks first.
    Machine sleeps: the monotonic clock may have stood still, so the window may be wrong; the
    duties are safe anyway, and the next answer of the store settles it. Store unreachable: nobody
    leads, nobody can be reaped, and nothing is lost. Graceful stop: the exact term is resigned,
    so that the next candidate need not wait for it to run out; resigning an old term is refused
    by the store.
"""

from dataclasses import dataclass

from stoker.core.clock import Clock
from stoker.core.records import Term
from stoker.core.store import Store

NAME = "keeper"
"""The name of the office in the store."""
_MARGIN = 0.2


@dataclass(frozen=True)
class Sighting:
    """One reading of the store's clock.

    Attributes:
        store_at: What the store's clock showed, at some moment between the next two.
        sent_at: Our monotonic clock before the question.
        received_at: Our monotonic clock after the answer.
    """

    store_at: float
    sent_at: float
    received_at: float


class Leader:
    """One candidate for the office of keeper.

    Attributes:
        holder: The name under which it stands, unique to this object.
        sighting: The latest reading of the store's clock, or None before the first.
    """

    def __init__(self, store: Store, *, name: str, term: float, clock: Clock) -> None:
        """Prepare a candidate; it asks nothing yet.

        Args:
            store: Open.
            name: For people, part of the holder's name.
            term: Seconds that a tenure lasts unless it is prolonged.
            clock: Time and chance.
        """
        self.holder = f"{name}#{clock.new_nonce()[:16]}"
        self.sighting: Sighting | None = None
        self._store = store
        self._length = term
        self._clock = clock
        self._term: Term | None = None
        self._trusted_until = 0.0

    async def stand(self) -> bool:
        """Ask the store to be elected, or to stay; return whether this candidate leads.

        Raises:
            BackendError: The store did not answer; `is_trusted` tells whether the former answer
                still holds.
        """
        sent = self._clock.monotonic()
        term = await self._store.lead(NAME, self.holder, ttl=self._length)
        self._term = term
        if term is None:
            return False
        self._trusted_until = sent + self._length * (1 - _MARGIN)
        self.sighting = Sighting(term.expires_at - self._length, sent, self._clock.monotonic())
        return True

    @property
    def elected_at(self) -> float | None:
        """The begin of the present term by the store's clock; None for a follower."""
        return None if self._term is None else self._term.elected_at

    def is_trusted(self) -> bool:
        """Whether this candidate leads as far as it can know without asking."""
        return self._term is not None and self._clock.monotonic() < self._trusted_until

    def store_now(self) -> float:
        """Return the store's time, never later than it is (clocks of one speed assumed).

        Only for a candidate that was elected once.
        """
        seen = self.sighting
        if seen is None:
            return 0.0
        return seen.store_at + self._clock.monotonic() - seen.received_at

    async def resign(self) -> bool:
        """Give up the present term, if there is one; return whether the store took it back.

        Raises:
            BackendError: The store did not answer; the term then runs out by itself.
        """
        term, self._term = self._term, None
        return False if term is None else await self._store.resign(term)

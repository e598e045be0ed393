"""Kafka as a broker: a topic for each queue, one group of listeners, small messages.

*A topic a queue, not a topic a priority*: topics and partitions are what a Kafka cluster pays for,
and reading past a low ring costs nothing, because a ring takes no longer than a look. So the
priority is in the ring, and what waits here is handed out by it.

*A partition has one listener*: Kafka hands the rings of a partition to one process only, so a ring
may lie with a busy one while another is idle. Each ring goes to a partition by chance; a busy
process looks by itself when it is free; the idle ones look by themselves every ``worker.poll``
seconds (one, by default); and whoever is busy for longer than `line.LINGER` seconds leaves the
group, so that its partitions go to those who listen. So such a ring costs latency, at most the
poll interval.

*The position is committed right after the look*, not after the job: nothing in Kafka knows how
long a job takes, no partition waits behind a slow job, and no rebalance comes from one.

``broker`` is what the loop sees, ``line`` the thread with the three clients, ``ear`` the consumer,
``window`` what may be committed, ``topics`` makes topics, ``pulse`` knows whether the servers
answer, ``voice`` writes the log, ``address`` reads the URL.
"""

from stoker.brokers.kafka.broker import KafkaBroker

__all__ = ["KafkaBroker"]

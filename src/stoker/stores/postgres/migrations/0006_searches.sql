-- What people search for finds the few among a million. Whoever leases a job does not pay for that: the
-- jobs that wait are indexed and those that ended, and of those in work there are few. A queue alone is
-- looked up with every task, of which the index itself tells the names.
--
-- While they are built everybody reads and nobody writes, for a few seconds a million jobs. Whoever
-- cannot have that builds them beforehand with CREATE INDEX CONCURRENTLY under the same names: what
-- is there is left as it is.

-- up

CREATE INDEX IF NOT EXISTS live_lanes ON live (task, queue) WHERE state IN (0, 1, 2, 5);
CREATE INDEX IF NOT EXISTS live_tenant ON live (tenant, seq)
    WHERE tenant IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE INDEX IF NOT EXISTS live_schedule ON live (schedule, seq)
    WHERE schedule IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE INDEX IF NOT EXISTS live_failed ON live (seq)
    WHERE error_fold IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE INDEX IF NOT EXISTS ended_lanes ON ended (task, queue);
CREATE INDEX IF NOT EXISTS ended_tenant ON ended (tenant, seq) WHERE tenant IS NOT NULL;
CREATE INDEX IF NOT EXISTS ended_schedule ON ended (schedule, seq) WHERE schedule IS NOT NULL;
CREATE INDEX IF NOT EXISTS ended_failed ON ended (seq) WHERE error_fold IS NOT NULL;

-- down

DROP INDEX ended_failed;
DROP INDEX ended_schedule;
DROP INDEX ended_tenant;
DROP INDEX ended_lanes;
DROP INDEX live_failed;
DROP INDEX live_schedule;
DROP INDEX live_tenant;
DROP INDEX live_lanes;

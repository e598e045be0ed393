-- What people search for finds the few among a million. None of these columns changes in a job's
-- life, so only a submit and a purge pay for them; the last one costs failures only.

-- up

CREATE INDEX jobs_lanes ON jobs (queue, task);
CREATE INDEX jobs_tenant ON jobs (tenant) WHERE tenant IS NOT NULL;
CREATE INDEX jobs_schedule ON jobs (schedule) WHERE schedule IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (seq) WHERE error IS NOT NULL;

-- down

DROP INDEX jobs_failed;
DROP INDEX jobs_schedule;
DROP INDEX jobs_tenant;
DROP INDEX jobs_lanes;

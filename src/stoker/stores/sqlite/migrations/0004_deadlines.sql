-- One index for what a session holds and until when, instead of two: every job pays for each of
-- them twice, when it is leased and when it ends.

-- up

DROP INDEX jobs_deadline;
DROP INDEX jobs_leased;
CREATE INDEX jobs_leased ON jobs (session, deadline_at) WHERE state IN (3, 4);

-- down

DROP INDEX jobs_leased;
CREATE INDEX jobs_leased ON jobs (session) WHERE state IN (3, 4);
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE deadline_at IS NOT NULL;

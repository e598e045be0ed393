-- Who this store is: a ring of a broker says which store it is from.

-- up

CREATE TABLE identity (id text NOT NULL);
INSERT INTO identity (id)
VALUES (md5(gen_random_uuid()::text || gen_random_uuid()::text));

-- down

DROP TABLE identity;

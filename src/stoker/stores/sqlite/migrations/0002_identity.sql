-- Who this store is: a ring of a broker says which store it is from.

-- up

CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));

-- down

DROP TABLE identity;

-- What members say of syncs and reactors is kept by member; what was said lasts some seconds anyway.
DROP TABLE statuses;
CREATE TABLE statuses (
  processor TEXT NOT NULL,
  member TEXT NOT NULL,
  value TEXT NOT NULL,
  time REAL NOT NULL,
  PRIMARY KEY (processor, member)
) WITHOUT ROWID;
CREATE TABLE duties (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until REAL NOT NULL
);
CREATE TABLE spills (
  receiver TEXT NOT NULL,
  since REAL NOT NULL,
  moved REAL,
  PRIMARY KEY (receiver, since)
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('leases', 0);

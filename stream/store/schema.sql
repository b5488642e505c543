-- Everything that is remembered. Written for SQLite; PostgreSQL reads the same statements.
-- Times are seconds since the epoch. `hash` is its kind's first letter and a keyed hash of a subject: it outlives the person's data.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

-- Numbers that only grow: epoch (of versions), revision (of marks), serial (of tombstones), synced.
CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value BIGINT NOT NULL
);

-- What projections remember: JSON per table and subject. A version never repeats.
CREATE TABLE rows (
  tbl TEXT NOT NULL,
  subject TEXT NOT NULL,
  version BIGINT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (tbl, subject)
) WITHOUT ROWID;

-- How far a processor has dealt with a partition, of which log, and which member may write it.
CREATE TABLE positions (
  processor TEXT NOT NULL,
  topic TEXT NOT NULL,
  part INTEGER NOT NULL,
  position BIGINT NOT NULL,
  claim BIGINT NOT NULL,
  log TEXT NOT NULL,
  PRIMARY KEY (processor, topic, part)
) WITHOUT ROWID;

-- How deliveries ended: fates add up to the deliveries fetched; `left:` counts what left held.
CREATE TABLE tallies (
  processor TEXT NOT NULL,
  topic TEXT NOT NULL,
  part INTEGER NOT NULL,
  fate TEXT NOT NULL,
  amount BIGINT NOT NULL,
  PRIMARY KEY (processor, topic, part, fate)
) WITHOUT ROWID;

-- Whom a processor must publish, because of which facet. The revision is what is published.
CREATE TABLE marks (
  processor TEXT NOT NULL,
  subject TEXT NOT NULL,
  facet TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (processor, subject, facet)
) WITHOUT ROWID;

-- Keys that person.profile holds a value for: each needs a null when its person is erased or renamed.
CREATE TABLE published (
  key TEXT PRIMARY KEY,
  revision BIGINT NOT NULL
) WITHOUT ROWID;

-- subject (anonymous, or an alias) was seen as other (a user): first and last time, refused events included.
CREATE TABLE links (
  subject TEXT NOT NULL,
  other TEXT NOT NULL,
  first REAL NOT NULL,
  last REAL NOT NULL,
  PRIMARY KEY (subject, other)
) WITHOUT ROWID;
CREATE INDEX links_by_other ON links (other);

-- Pairs of which one stands for nobody ("null", zeros): for people to look at. They never count, and nothing spreads.
CREATE TABLE refused (
  subject TEXT NOT NULL,
  other TEXT NOT NULL,
  first REAL NOT NULL,
  last REAL NOT NULL,
  PRIMARY KEY (subject, other)
) WITHOUT ROWID;
CREATE INDEX refused_by_other ON refused (other);

-- Who is known by an identifier (email:a@b.c): all who share an address.
CREATE TABLE identifiers (
  identifier TEXT NOT NULL,
  subject TEXT NOT NULL,
  PRIMARY KEY (identifier, subject)
) WITHOUT ROWID;
CREATE INDEX identifiers_by_subject ON identifiers (subject);

-- What a destination was last told about an address and a thing: JSON, or NULL where nobody knows. `subject`: on whose
-- behalf. Whoever holds the lease until then sends; NULL: nobody, and then what was sent may arrive until then.
CREATE TABLE confirmed (
  destination TEXT NOT NULL,
  address TEXT NOT NULL,
  thing TEXT NOT NULL,
  verb TEXT NOT NULL,
  processor TEXT NOT NULL,
  subject TEXT NOT NULL,
  value TEXT,
  told REAL,
  lease TEXT,
  until REAL,
  PRIMARY KEY (destination, address, thing)
) WITHOUT ROWID;
CREATE INDEX confirmed_by_subject ON confirmed (subject);

-- What reactors sent: keyed hashes of processor, messageId, subject and n-th call.
CREATE TABLE sends (
  hash TEXT PRIMARY KEY,
  time REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX sends_by_time ON sends (time);

-- Until when a projection had dealt with everything.
CREATE TABLE caught_up (
  processor TEXT PRIMARY KEY,
  time REAL NOT NULL
) WITHOUT ROWID;

-- A sync looking at everybody. `after`: the last subject looked at. state: open, done. `everything`: what is wanted is
-- sent even where it is known to be so. How many people were seen, differed, and could not be made so.
CREATE TABLE walks (
  id INTEGER PRIMARY KEY,
  processor TEXT NOT NULL,
  state TEXT NOT NULL,
  who TEXT NOT NULL,
  asked REAL NOT NULL,
  finished REAL,
  everything BOOLEAN NOT NULL,
  after TEXT NOT NULL,
  seen BIGINT NOT NULL,
  differed BIGINT NOT NULL,
  failed BIGINT NOT NULL
);
CREATE INDEX walks_by_processor ON walks (processor, state);

-- What an erased link leaves behind: enough that a later deletion reaches the same subjects, in any order.
CREATE TABLE ties (
  hash TEXT NOT NULL,
  other TEXT NOT NULL,
  first REAL NOT NULL,
  last REAL NOT NULL,
  PRIMARY KEY (hash, other)
) WITHOUT ROWID;
CREATE INDEX ties_by_other ON ties (other);

-- The time before which nothing about a subject may be remembered. `subject` only while something younger is kept;
-- `erased`: the time up to which its rows are erased, too.
CREATE TABLE tombstones (
  hash TEXT PRIMARY KEY,
  time REAL NOT NULL,
  serial BIGINT NOT NULL UNIQUE,
  subject TEXT,
  erased REAL
) WITHOUT ROWID;

-- Requests to delete, and what became of them: open (ends: what projections must pass first), erased, done.
CREATE TABLE deletions (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  time REAL NOT NULL,
  authority TEXT NOT NULL,
  state TEXT NOT NULL,
  ends TEXT,
  asked REAL NOT NULL,
  finished REAL,
  erased INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX deletions_by_state ON deletions (state);
CREATE TABLE deletion_subjects (
  id TEXT NOT NULL,
  hash TEXT NOT NULL,
  subject TEXT,
  PRIMARY KEY (id, hash)
) WITHOUT ROWID;
CREATE INDEX deletion_subjects_by_hash ON deletion_subjects (hash);
-- The addresses that a destination must still delete; and, for good, what each destination answered, address hashed.
CREATE TABLE deletion_addresses (
  id TEXT NOT NULL,
  destination TEXT NOT NULL,
  address TEXT NOT NULL,
  PRIMARY KEY (id, destination, address)
) WITHOUT ROWID;
CREATE INDEX deletion_addresses_by_address ON deletion_addresses (destination, address);
CREATE TABLE receipts (
  id TEXT NOT NULL,
  destination TEXT NOT NULL,
  hash TEXT NOT NULL,
  outcome TEXT NOT NULL,
  time REAL NOT NULL,
  PRIMARY KEY (id, destination, hash)
) WITHOUT ROWID;

-- Deliveries that had to leave the fast path, in order by id. state: waiting (its lane tries again), dead.
-- `edited` is tried instead of `message` once it is there.
CREATE TABLE held (
  id INTEGER PRIMARY KEY,
  processor TEXT NOT NULL,
  topic TEXT NOT NULL,
  part INTEGER NOT NULL,
  position BIGINT NOT NULL,
  taken REAL NOT NULL,
  lane TEXT NOT NULL,
  subject TEXT NOT NULL,
  time REAL NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  trace TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  since REAL NOT NULL,
  message BLOB NOT NULL,
  edited BLOB,
  UNIQUE (processor, topic, part, position)
);
CREATE INDEX held_by_subject ON held (subject);
CREATE INDEX held_by_lane ON held (processor, lane, state);
CREATE INDEX held_by_reason ON held (processor, reason, state);

-- Lanes with deliveries that wait: when the first of them is tried next.
CREATE TABLE lanes (
  processor TEXT NOT NULL,
  lane TEXT NOT NULL,
  topic TEXT NOT NULL,
  part INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due REAL NOT NULL,
  reason TEXT NOT NULL,
  since REAL NOT NULL,
  PRIMARY KEY (processor, lane)
) WITHOUT ROWID;
CREATE INDEX lanes_by_due ON lanes (processor, due);

-- Held deliveries that left before the position had passed them: whoever reads them again must not act on them again.
CREATE TABLE released (
  processor TEXT NOT NULL,
  topic TEXT NOT NULL,
  part INTEGER NOT NULL,
  position BIGINT NOT NULL,
  lane TEXT NOT NULL,
  PRIMARY KEY (processor, topic, part, position)
) WITHOUT ROWID;

-- What a command asks of the running process.
CREATE TABLE requests (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  args TEXT NOT NULL,
  who TEXT NOT NULL,
  asked REAL NOT NULL,
  done REAL,
  result TEXT
);

-- Processors that stopped by themselves. Those whose stop lasts wait for `stream resume`, a new start does not help.
CREATE TABLE stops (
  processor TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  lasting BOOLEAN NOT NULL,
  time REAL NOT NULL
);

-- What each member last said of its sync or reactor: JSON. Other processes show it.
CREATE TABLE statuses (
  processor TEXT NOT NULL,
  member TEXT NOT NULL,
  value TEXT NOT NULL,
  time REAL NOT NULL,
  PRIMARY KEY (processor, member)
) WITHOUT ROWID;

-- What one process at a time does for all: which one, and until when.
CREATE TABLE duties (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until REAL NOT NULL
);

-- Receivers whose events were not in the log from a time on, and when they were: the gate counts it as lag until then,
-- and of each processor until it has dealt with what was there at that time.
CREATE TABLE spills (
  receiver TEXT NOT NULL,
  since REAL NOT NULL,
  moved REAL,
  PRIMARY KEY (receiver, since)
) WITHOUT ROWID;

-- Messages of segment.invalid that were appended again.
CREATE TABLE retried (
  part INTEGER NOT NULL,
  position BIGINT NOT NULL,
  time REAL NOT NULL,
  PRIMARY KEY (part, position)
) WITHOUT ROWID;

-- Who read or changed a person's data, what, when. Persons are named by hash.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  time REAL NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  hash TEXT NOT NULL
);

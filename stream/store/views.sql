-- Views for analysts, on PostgreSQL only: what is remembered, as jsonb. Statements are parted by empty lines.

-- JSON may say \u0000, and jsonb may not hold it: it is U+FFFD there. A backslash that is meant stands there twice.
CREATE OR REPLACE FUNCTION as_jsonb(given TEXT) RETURNS JSONB LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN position('\u0000' IN given) = 0 THEN given::jsonb
    ELSE replace(replace(replace(given, '\\', chr(1)), '\u0000', '\ufffd'), chr(1), '\\')::jsonb END
$$

CREATE OR REPLACE VIEW person_profiles AS
SELECT subject,
  to_timestamp((known ->> 'first_seen')::DOUBLE PRECISION) AS first_seen,
  to_timestamp((known ->> 'last_seen')::DOUBLE PRECISION) AS last_seen,
  coalesce((SELECT jsonb_object_agg(key, value -> 0) FROM jsonb_each(known -> 'traits')), '{}') AS traits,
  ARRAY(SELECT jsonb_object_keys(known -> 'identifiers') ORDER BY 1) AS identifiers,
  ARRAY(SELECT jsonb_object_keys(known -> 'groups') ORDER BY 1) AS groups,
  coalesce(known -> 'events', '{}') AS events,
  known AS profile
FROM (SELECT subject, as_jsonb(value) AS known FROM rows WHERE tbl = 'profiles') AS found

CREATE OR REPLACE VIEW person_memberships AS
SELECT subject, audience.key AS audience,
  audience.value -> 0 = 'true' AS member,
  audience.value ->> 4 AS kind,
  to_timestamp((audience.value ->> 1)::DOUBLE PRECISION) AS since
FROM (SELECT subject, as_jsonb(value) AS known FROM rows WHERE tbl = 'audiences') AS found,
  jsonb_each(known -> 'audiences') AS audience

CREATE OR REPLACE VIEW person_consents AS
SELECT subject, 'category' AS kind, category.key AS name, category.value #>> '{}' AS said,
  to_timestamp((known #>> '{categories,categories,1}')::DOUBLE PRECISION) AS since,
  known #>> '{categories,categories,4}' AS source
FROM (SELECT subject, as_jsonb(value) AS known FROM rows WHERE tbl = 'consent') AS found,
  jsonb_each(CASE WHEN jsonb_typeof(known #> '{categories,categories,0}') = 'object'
    THEN known #> '{categories,categories,0}' END) AS category
UNION ALL
SELECT subject, 'subscription', subscription.key, subscription.value ->> 0,
  to_timestamp((subscription.value ->> 1)::DOUBLE PRECISION), subscription.value ->> 4
FROM (SELECT subject, as_jsonb(value) AS known FROM rows WHERE tbl = 'consent') AS found,
  jsonb_each(known -> 'subscriptions') AS subscription

CREATE OR REPLACE VIEW person_deletions AS
SELECT id, hash, state, authority,
  to_timestamp(time) AS deleted, to_timestamp(asked) AS asked, to_timestamp(finished) AS finished, erased,
  (SELECT count(*) FROM deletion_addresses WHERE deletion_addresses.id = deletions.id) AS outstanding,
  coalesce((SELECT jsonb_agg(jsonb_build_object('destination', destination, 'hash', hash, 'outcome', outcome, 'time',
    to_timestamp(time)) ORDER BY time, destination, hash) FROM receipts WHERE receipts.id = deletions.id), '[]') AS receipts
FROM deletions

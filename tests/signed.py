"""Requests of Segment's destinations: headers, bodies, and their X-Signature, computed with Node's crypto, in the form
that integration-trayio's own tests have. The secret of TRACK is "teehee", that of DELETE and BATCH "abc123"."""

CLASSIC = {"User-Agent": "Segment.io/1.0", "Content-Type": "application/json", "Accept-Encoding": "identity"}
ACTIONS = {"User-Agent": "Segment (Actions)", "Content-Type": "application/json"}
TRACK = (
    b'{"type":"track","userId":"user-id","event":"my-event","timestamp":"2014-01-01T00:00:00.000Z",'
    b'"properties":{"revenue":19.99,"property":true},"context":{"ip":"10.0.0.1"}}'
)
DELETE = b'{"type":"delete","userId":"019mr8mf4r","timestamp":"2012-12-02T00:30:08.276Z"}'
BATCH = b"[" + DELETE + b"," + TRACK + b"]"
OF_TRACK, OF_DELETE = "87b54067be108fbace8bbf4ca7268b29b6eefd4c", "03d53d7b6d5f99fc593dcc0bde8abdbade6ccc9e"

-- What pages show. Every list is read in pages that begin below a mark; a mark that nothing reaches begins at the newest.

-- name: browse_sessions
SELECT s.uid, left(s.task, 300) AS task, s.key AS learning_key, s.tenant, s.lane, s.reward_value, s.tokens, s.cost_usd,
    s.created_at, s.completed_at, s.review_status, s.accepted, s.metadata #> '{drift,drift_alert}' = 'true' AS drift,
    CASE WHEN s.status = 'running' AND NOT EXISTS (
        SELECT FROM leases l WHERE l.owner = s.lease_owner AND l.until > now())
    THEN 'interrupted' ELSE s.status END AS status
FROM sessions s
WHERE (s.created_at, s.uid) < ($1, $2::uuid)
  AND ($4::text IS NULL OR (CASE WHEN s.status = 'running' AND NOT EXISTS (
        SELECT FROM leases l WHERE l.owner = s.lease_owner AND l.until > now()) THEN 'interrupted' ELSE s.status END) = $4)
  AND ($4::text IS DISTINCT FROM 'running' OR s.status = 'running')
  AND ($4::text IS DISTINCT FROM 'failed' OR s.status = 'failed')
  AND ($5::text IS NULL OR s.lane = $5)
  AND ($6::text IS NULL OR s.key = $6)
  AND ($7::text IS NULL OR s.tenant = $7)
  AND ($8::text IS NULL OR s.review_status = $8)
  AND ($9::boolean IS NULL OR (s.metadata #> '{drift,drift_alert}' IS NOT DISTINCT FROM 'true') = $9)
  AND ($10::double precision IS NULL OR s.reward_value >= $10)
  AND ($11::double precision IS NULL OR s.reward_value <= $11)
  AND ($12::double precision IS NULL OR s.cost_usd >= $12)
  AND ($13::double precision IS NULL OR s.cost_usd <= $13)
  AND ($14::timestamptz IS NULL OR s.created_at >= $14)
  AND ($15::timestamptz IS NULL OR s.created_at <= $15)
  AND ($16::text IS NULL OR s.task ILIKE $16 OR s.final_answer ILIKE $16)
ORDER BY s.created_at DESC, s.uid DESC LIMIT $3;

-- name: browse_tally
SELECT
    (SELECT count(*) FROM (SELECT FROM sessions s WHERE s.status = 'running' AND EXISTS (
        SELECT FROM leases l WHERE l.owner = s.lease_owner AND l.until > now()) LIMIT $1) AS r) AS running,
    (SELECT count(*) FROM (SELECT FROM sessions s WHERE s.review_status = 'pending' AND s.status <> 'running' LIMIT $1) AS p)
        AS pending,
    (SELECT count(*) FROM (SELECT FROM sessions LIMIT $1) AS e) AS sessions;

-- name: browse_session
SELECT s.uid, s.id, left(s.task, 20000) AS task, length(s.task) AS task_length, s.key AS learning_key, s.tenant, s.lane, s.policy,
    s.reward_value, s.tokens, s.cost_usd, s.created_at, s.completed_at, s.review_status, s.review_by, s.review_at,
    s.review_notes, s.accepted, s.playbook_version, s.arms, left(s.final_answer, 20000) AS final_answer,
    s.metadata -> 'drift' AS drift, coalesce((SELECT max(e.seq) FROM events e WHERE e.session = s.uid), 0) AS last_seq,
    CASE WHEN s.status = 'running' AND NOT EXISTS (
        SELECT FROM leases l WHERE l.owner = s.lease_owner AND l.until > now())
    THEN 'interrupted' ELSE s.status END AS status
FROM sessions s WHERE s.uid = $1;

-- name: browse_events
SELECT e.seq, e.at, e.type, e.actor, e.step, e.attempt, e.name, e.duration_s, e.tokens, e.cost_usd, e.size,
    CASE WHEN length(e.body) <= $5 THEN e.body END AS body
FROM (
    SELECT e.*, pg_column_size(e.payload) AS size,
        CASE WHEN pg_column_size(e.payload) > 4000000 THEN NULL
            WHEN e.type = 'model_called' AND $6 THEN ((e.payload - 'request') || jsonb_build_object(
                'asked', jsonb_array_length(e.payload #> '{request,messages}')))::text
            ELSE e.payload::text END AS body
    FROM events e
    WHERE e.session = $1 AND e.seq > $2 AND e.seq <= $3 AND ($7::text[] IS NULL OR e.type = ANY($7))
    ORDER BY e.seq LIMIT $4
) AS e
ORDER BY e.seq;

-- name: browse_texts
SELECT w.seq, w.path, CASE WHEN length(w.text) <= 4000000 THEN w.text END AS text FROM (
    SELECT w.seq, w.path, e.payload #>> string_to_array(w.path, '/') AS text
    FROM unnest($2::integer[], $3::text[]) AS w(seq, path) JOIN events e ON e.session = $1 AND e.seq = w.seq) AS w;

-- name: browse_usage
SELECT e.actor, e.payload ->> 'purpose' AS purpose, max(e.name) AS model, count(*) AS calls,
    coalesce(sum((e.payload #>> '{completion,usage,prompt_tokens}')::bigint), 0) AS prompt_tokens,
    coalesce(sum((e.payload #>> '{completion,usage,cached_tokens}')::bigint), 0) AS cached_tokens,
    coalesce(sum((e.payload #>> '{completion,usage,completion_tokens}')::bigint), 0) AS completion_tokens,
    sum(e.cost_usd) AS cost_usd, coalesce(sum(e.duration_s), 0) AS seconds,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY e.duration_s) AS median_s, max(e.duration_s) AS slowest_s
FROM events e WHERE e.session = $1 AND e.type = 'model_called'
GROUP BY e.actor, e.payload ->> 'purpose' ORDER BY min(e.seq);

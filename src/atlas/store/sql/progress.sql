-- What pages show of progress: always over a bounded number of the newest sessions. What was played once more only to
-- measure something is no session of the caller's and is left out.

-- name: progress_keys
SELECT s.tenant, s.learning_key AS key, count(*) AS sessions, count(s.reward_value) AS rewarded, avg(s.reward_value) AS reward,
    avg(s.tokens)::double precision AS tokens, sum(s.cost_usd) AS cost_usd, max(s.created_at) AS last,
    count(*) FILTER (WHERE s.metadata #> '{drift,drift_alert}' = 'true') AS alarms
FROM (SELECT * FROM sessions ORDER BY created_at DESC, uid DESC LIMIT $1) AS s
GROUP BY s.tenant, s.learning_key ORDER BY max(s.created_at) DESC LIMIT 200;

-- name: progress_points
SELECT * FROM (
    SELECT s.uid, s.created_at AS at, s.lane, s.reward_value AS reward, s.tokens, s.cost_usd, s.policy
    FROM sessions s
    WHERE s.tenant = $1 AND s.learning_key = $2 AND s.lane IS NOT NULL AND s.status IN ('succeeded', 'failed')
      AND s.completed_at IS NOT NULL AND NOT s.metadata ? 'replay_of'
    ORDER BY s.completed_at DESC LIMIT $3) AS newest
ORDER BY newest.at, newest.uid;

-- name: progress_first
SELECT s.uid, s.created_at AS at, s.lane, s.reward_value AS reward, s.tokens, s.cost_usd, s.policy
FROM sessions s
WHERE s.tenant = $1 AND s.learning_key = $2 AND s.lane IS NOT NULL AND s.status IN ('succeeded', 'failed')
  AND s.completed_at IS NOT NULL AND NOT s.metadata ? 'replay_of'
ORDER BY s.completed_at LIMIT $3;

-- name: progress_roles
SELECT e.session AS uid, coalesce(sum(e.tokens) FILTER (WHERE e.actor = 'student'), 0)::bigint AS student,
    coalesce(sum(e.tokens) FILTER (WHERE e.actor <> 'student'), 0)::bigint AS others
FROM unnest($1::uuid[]) AS wanted(uid) JOIN events e ON e.session = wanted.uid
WHERE e.type = 'model_called' GROUP BY e.session;

-- name: progress_tries
SELECT e.session AS uid, atlas_number(e.payload #> '{reward,value}') AS final, (
    SELECT min(atlas_number(one -> 'value')) FROM jsonb_array_elements(e.payload #> '{reward,steps}') AS one
    WHERE (one ->> 'attempt')::integer = 1) AS first
FROM unnest($1::uuid[]) AS wanted(uid) JOIN events e ON e.session = wanted.uid
WHERE e.type = 'rewarded' AND e.payload #>> '{reward,value}' IS NOT NULL;

-- name: progress_alarms
SELECT s.uid, left(s.task, 300) AS task, s.created_at, s.metadata -> 'drift' AS drift FROM sessions s
WHERE s.metadata #> '{drift,drift_alert}' = 'true' AND s.tenant = $1 AND s.learning_key = $2
ORDER BY s.created_at DESC, s.uid DESC LIMIT $3;

-- name: progress_policies
SELECT s.policy, count(*) AS sessions, count(s.reward_value) AS rewarded, coalesce(sum(s.reward_value), 0) AS reward,
    avg(s.tokens)::double precision AS tokens, sum(s.cost_usd) AS cost_usd, min(s.created_at) AS first,
    max(s.created_at) AS last
FROM (SELECT * FROM sessions WHERE lane IS NOT NULL ORDER BY created_at DESC, uid DESC LIMIT $1) AS s
GROUP BY s.policy ORDER BY max(s.created_at) DESC LIMIT 100;

-- name: progress_deployed
SELECT policy FROM policies ORDER BY created_at DESC, id DESC LIMIT $1;

-- name: progress_runs
SELECT manifest FROM training_runs ORDER BY started_at DESC, id DESC LIMIT $1;

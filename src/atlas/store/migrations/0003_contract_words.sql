-- The contract's views in the words of its readers.

-- What the published documentation calls an event of ours; its own type where it has no name for it.
CREATE FUNCTION atlas_event_type(type text, target text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN type = 'reviewed' AND target <> 'plan' THEN 'validation'
        WHEN type = 'tool_called' THEN 'tool_call'
        WHEN type = 'rewarded' THEN 'reward'
        WHEN type = 'learnt' THEN 'learning_playbook'
        ELSE type END
$$;

-- Who did it.
CREATE FUNCTION atlas_event_actor(type text, actor text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(actor, CASE
        WHEN type IN ('planned', 'attempted', 'tool_started', 'tool_called', 'answered') THEN 'student'
        WHEN type = 'reviewed' THEN 'teacher'
        WHEN type IN ('judged', 'judge_failed', 'rewarded') THEN 'judge'
        ELSE 'runtime' END)
$$;

CREATE OR REPLACE VIEW trajectory_events AS
SELECT s.id * 16777216 + e.seq AS id, s.id AS session_id,
    atlas_restored(e.session, e.payload) || jsonb_build_object(
        'event_type', atlas_event_type(e.type, e.payload #>> '{review,target}'),
        'actor', atlas_event_actor(e.type, e.actor)) AS event,
    e.at AS created_at
FROM sessions s JOIN events e ON e.session = s.uid;

-- Without a score there is no score, not a null that readers take for a number.
CREATE OR REPLACE VIEW step_attempts AS
SELECT s.id AS session_id, a.step AS step_id, a.attempt, jsonb_build_object(
    'validation', coalesce((
        SELECT jsonb_build_object('valid', r.payload #> '{review,accepted}',
                                  'guidance', atlas_text(r.session, r.payload #>> '{review,guidance}'))
        FROM events r WHERE r.session = s.uid AND r.type = 'reviewed' AND r.step = a.step AND r.attempt = a.attempt
          AND r.payload #>> '{review,target}' <> 'plan'
        ORDER BY r.seq DESC LIMIT 1), '{}'),
    'reward', coalesce((
        SELECT jsonb_build_object('score', one -> 'value', 'judges', '[]'::jsonb, 'rationale', NULL)
        FROM (SELECT j.payload FROM events j
              WHERE j.session = s.uid AND j.type = 'rewarded' ORDER BY j.seq DESC LIMIT 1) AS rewarded,
            jsonb_array_elements(rewarded.payload #> '{reward,steps}') AS one
        WHERE (one ->> 'step')::integer = a.step AND (one ->> 'attempt')::integer = a.attempt LIMIT 1),
        CASE WHEN a.step = 0 AND a.is_last THEN
            CASE WHEN s.reward ->> 'score' IS NULL THEN s.reward - 'score' ELSE s.reward END END)) AS evaluation
FROM sessions s CROSS JOIN LATERAL (
    SELECT e.step, e.attempt, e.attempt = max(e.attempt) OVER (PARTITION BY e.step) AS is_last
    FROM events e WHERE e.session = s.uid AND e.type = 'attempted' GROUP BY e.step, e.attempt
) AS a;

-- A session whose plan came to nothing was played whole: its step 0 counts. `runtime` is milliseconds in model and tool calls.
CREATE OR REPLACE VIEW step_results AS
SELECT s.id AS session_id, a.step AS step_id,
    concat_ws(E'\n', (
        SELECT string_agg(format('%s(%s) -> %s', u #>> '{call,name}', u #>> '{call,arguments}',
                                 coalesce('error: ' || (u ->> 'error'), u ->> 'output')), E'\n')
        FROM jsonb_array_elements(a.attempted -> 'tools') AS u), a.attempted ->> 'output') AS trace,
    a.attempted ->> 'output' AS output,
    (SELECT v.evaluation FROM step_attempts v
     WHERE v.session_id = s.id AND v.step_id = a.step AND v.attempt = a.attempt) AS evaluation,
    a.attempt AS attempts,
    jsonb_strip_nulls(jsonb_build_object(
        'guidance', a.attempted -> 'guidance', 'tool_calls', nullif(a.attempted -> 'tools', '[]'),
        'tool', a.attempted #> '{tools,0,call,name}',
        'runtime', (SELECT round((sum(c.duration_s) * 1000)::numeric, 3) FROM events c
                    WHERE c.session = s.uid AND c.step = a.step AND (c.type = 'tool_called' OR
                        c.type = 'model_called' AND c.payload ->> 'purpose' IN ('answer', 'step', 'verify'))),
        'attempt_history', (SELECT jsonb_agg(jsonb_build_object('attempt', v.attempt, 'evaluation', v.evaluation)
                                             ORDER BY v.attempt)
                            FROM step_attempts v WHERE v.session_id = s.id AND v.step_id = a.step))) AS metadata
FROM sessions s CROSS JOIN LATERAL (
    SELECT DISTINCT ON (e.step) e.step, e.attempt, atlas_restored(e.session, e.payload) -> 'attempt' AS attempted
    FROM events e WHERE e.session = s.uid AND e.type = 'attempted'
    ORDER BY e.step, e.attempt DESC, e.seq DESC
) AS a
WHERE a.step > 0 OR NOT EXISTS (SELECT FROM events p WHERE p.session = s.uid AND p.type = 'attempted' AND p.step > 0);

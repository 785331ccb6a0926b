-- What published readers look for in a session's metadata; tables for the weeks of sessions that began elsewhere.

-- What of its playbooks a session saw, as records tell it; null where there was nothing to see.
CREATE FUNCTION atlas_history(student jsonb, teacher jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN entries <> '[]' OR held_out <> '[]' OR student -> 'version' <> '0' OR teacher -> 'version' <> '0' THEN
        jsonb_build_object('entries', entries, 'held_out', held_out, 'count', jsonb_array_length(entries),
                           'student_version', student -> 'version', 'teacher_version', teacher -> 'version') END
    FROM (
        SELECT (student -> 'held_out') || (teacher -> 'held_out') AS held_out,
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', one -> 'id', 'audience', one -> 'audience',
                                                          'cue', one #> '{cue,text}', 'action', one -> 'action')
                                       ORDER BY n), '[]')
             FROM jsonb_array_elements((student -> 'shown') || (teacher -> 'shown')) WITH ORDINALITY AS shown(one, n)
            ) AS entries
    ) AS seen
$$;

-- The lessons that a session saw, one line each.
CREATE FUNCTION atlas_applied(recalled jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(one ->> 'action', E'\n' ORDER BY n)
    FROM jsonb_array_elements(recalled -> 'shown') WITH ORDINALITY AS shown(one, n)
$$;

-- The same as labels of the session; none where nothing was recalled.
CREATE FUNCTION atlas_recalled_labels(student jsonb, teacher jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_object_agg(l.name, l.told) FILTER (WHERE l.told IS NOT NULL AND l.told <> 'null'), '{}')
    FROM (VALUES ('learning_history', atlas_history(student, teacher)),
                 ('applied_student_learning', to_jsonb(atlas_applied(student))),
                 ('applied_teacher_learning', to_jsonb(atlas_applied(teacher)))) AS l(name, told)
    WHERE student IS NOT NULL AND teacher IS NOT NULL
$$;

-- The sum of what models consumed, each element as a usage of ours.
CREATE FUNCTION atlas_token_usage(used jsonb[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN count(*) = 0 THEN '{}' ELSE jsonb_build_object('token_usage', jsonb_build_object(
        'calls', sum(atlas_number(one -> 'calls')), 'prompt_tokens', sum(atlas_number(one -> 'prompt_tokens')),
        'completion_tokens', sum(atlas_number(one -> 'completion_tokens')),
        'total_tokens', sum(atlas_number(one -> 'prompt_tokens') + atlas_number(one -> 'completion_tokens')))) END
    FROM unnest(used) AS one
$$;

-- Tokens of a usage. What no model can have consumed is cut off, so that sums hold.
CREATE FUNCTION atlas_tokens(used jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(least(atlas_number(used -> 'prompt_tokens') + atlas_number(used -> 'completion_tokens'), 1e15), 0)::bigint
$$;

-- Make the partitions of the weeks that these sessions began in, as far as their ids tell a time that can be one.
CREATE FUNCTION atlas_make_weeks(ids uuid[]) RETURNS void LANGUAGE sql AS $$
    SELECT atlas_partition(told.week) FROM (
        SELECT DISTINCT date_trunc('week', timestamp 'epoch' + interval '1 millisecond'
            * ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint) AS week
        FROM unnest(ids) AS id WHERE substr(id::text, 15, 1) IN ('7', '8')
          AND id BETWEEN atlas_uuid_at('2000-01-01') AND atlas_uuid_at(now() AT TIME ZONE 'UTC' + interval '8 days')
    ) AS told
$$;

-- As before, and with what was recalled.
CREATE OR REPLACE FUNCTION atlas_project(touched uuid[]) RETURNS void LANGUAGE sql AS $$
    UPDATE sessions s SET
        status = CASE WHEN told.final IS NULL THEN 'running' ELSE told.final ->> 'status' END,
        completed_at = told.final_at,
        lane = told.route ->> 'lane',
        metadata = atlas_labels(s.metadata, s.tenant, s.learning_key, atlas_restored(s.uid, told.dossier), told.route)
            || atlas_recalled_labels(told.recalled -> 'student', told.recalled -> 'teacher'),
        final_answer = coalesce(atlas_text(s.uid, told.answered ->> 'answer'), s.final_answer),
        accepted = (told.answered ->> 'accepted')::boolean,
        playbook_version = coalesce((told.recalled #>> '{student,version}')::integer, s.playbook_version),
        tokens = greatest(s.tokens, told.tokens),
        cost_usd = greatest(s.cost_usd, told.cost_usd)
    FROM unnest(touched) AS t(uid), LATERAL (
        SELECT
            (array_agg(e.payload ORDER BY e.seq DESC) FILTER (WHERE e.type = 'answered'))[1] AS answered,
            atlas_restored(t.uid, (array_agg(e.payload ORDER BY e.seq DESC) FILTER (WHERE e.type = 'memory_recalled'))[1])
                AS recalled,
            (array_agg(e.payload -> 'dossier' ORDER BY e.seq DESC) FILTER (WHERE e.type = 'triaged'))[1] AS dossier,
            (array_agg(e.payload -> 'route' ORDER BY e.seq DESC) FILTER (WHERE e.type = 'routed'))[1] AS route,
            (array_agg(CASE WHEN e.type = 'finished' THEN e.payload END ORDER BY e.seq DESC)
                FILTER (WHERE e.type IN ('finished', 'session_resumed')))[1] AS final,
            (array_agg(CASE WHEN e.type = 'finished' THEN e.at END ORDER BY e.seq DESC)
                FILTER (WHERE e.type IN ('finished', 'session_resumed')))[1] AS final_at,
            coalesce(sum(e.tokens), 0) AS tokens,
            sum(e.cost_usd) AS cost_usd
        FROM events e WHERE e.session = t.uid
    ) AS told
    WHERE s.uid = t.uid
$$;

-- As before, and with what models consumed.
CREATE OR REPLACE FUNCTION atlas_project_rewards(touched uuid[]) RETURNS void LANGUAGE sql AS $$
    UPDATE sessions s SET
        reward = atlas_reward(told.reward),
        reward_stats = atlas_reward_stats(told.reward),
        reward_value = (told.reward ->> 'value')::double precision,
        student_learning = atlas_notes(told.reward, 'student_note'),
        teacher_learning = atlas_notes(told.reward, 'teacher_note'),
        metadata = s.metadata || atlas_token_usage(ARRAY(
            SELECT e.payload #> '{completion,usage}' FROM events e WHERE e.session = t.uid AND e.type = 'model_called'))
    FROM unnest(touched) AS t(uid), LATERAL (
        SELECT atlas_restored(e.session, e.payload -> 'reward') AS reward
        FROM events e WHERE e.session = t.uid AND e.type = 'rewarded' ORDER BY e.seq DESC LIMIT 1
    ) AS told
    WHERE s.uid = t.uid AND s.reward IS NULL
$$;

-- As before, but a number of tokens that no column holds does not refuse the event.
CREATE OR REPLACE FUNCTION atlas_append(
    ids uuid[], seqs integer[], moments bigint[], payloads jsonb[], starts integer[], touched uuid[], owner uuid,
    replay boolean
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    stored integer;
    clashes integer[] := '{}';
BEGIN
    INSERT INTO events (session, seq, at, type, step, attempt, actor, name, duration_s, tokens, cost_usd, payload)
    SELECT session, seq, atlas_moment(moment), type,
        CASE type WHEN 'attempted' THEN p #>> '{attempt,step}' WHEN 'reviewed' THEN p #>> '{review,step}'
            ELSE p ->> 'step' END::integer,
        CASE type WHEN 'attempted' THEN p #>> '{attempt,number}' WHEN 'reviewed' THEN p #>> '{review,attempt}'
            ELSE p ->> 'attempt' END::integer,
        p ->> 'actor',
        CASE type WHEN 'tool_called' THEN p #>> '{use,call,name}' WHEN 'tool_started' THEN p #>> '{call,name}'
            WHEN 'judged' THEN p #>> '{verdict,judge}' WHEN 'judge_failed' THEN p ->> 'judge' ELSE p ->> 'model' END,
        CASE WHEN type IN ('model_called', 'model_failed', 'tool_called') THEN atlas_number(p -> 'latency_s') END,
        CASE type WHEN 'model_called' THEN atlas_tokens(p #> '{completion,usage}') END,
        CASE type WHEN 'model_called' THEN atlas_number(p #> '{completion,usage,cost_usd}') END,
        p
    FROM (SELECT *, p ->> 'type' AS type
          FROM unnest(ids, seqs, moments, payloads) AS sent(session, seq, moment, p) OFFSET 0) AS new
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored < cardinality(ids) THEN
        SELECT coalesce(array_agg(new.n ORDER BY new.n), '{}') INTO clashes
        FROM unnest(ids, seqs, moments, payloads) WITH ORDINALITY AS new(session, seq, moment, p, n)
        JOIN events e ON e.session = new.session AND e.seq = new.seq
        WHERE e.at <> atlas_moment(new.moment)
           OR atlas_restored(e.session, e.payload) <> atlas_restored(new.session, new.p);
    END IF;
    IF starts <> '{}' THEN
        INSERT INTO sessions (uid, task, metadata, created_at, tenant, learning_key, policy, lease_owner)
        SELECT uid, p #>> '{task,prompt}',
            atlas_labels(atlas_restored(uid, p -> 'metadata'), p #>> '{task,tenant}', p #>> '{task,learning_key}',
                         NULL, NULL),
            atlas_moment(moment), p #>> '{task,tenant}', p #>> '{task,learning_key}', p ->> 'policy', owner
        FROM (SELECT ids[n] AS uid, moments[n] AS moment, payloads[n] AS p FROM unnest(starts) AS n OFFSET 0) AS begun
        ON CONFLICT (uid) DO NOTHING;
    END IF;
    IF touched <> '{}' THEN
        PERFORM atlas_project(touched);
        IF replay THEN
            PERFORM atlas_project_rewards(touched);
        END IF;
    END IF;
    RETURN clashes;
END $$;

-- As before, and with what was recalled and consumed.
CREATE OR REPLACE FUNCTION atlas_commit(
    of_uid uuid, s jsonb, used_tokens bigint, used_cost double precision, stood boolean, books jsonb[], of_call uuid
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM atlas_publish(books, of_uid, of_call);
    INSERT INTO sessions AS old (
        uid, task, status, metadata, final_answer, reward, reward_stats, reward_audit, student_learning,
        teacher_learning, created_at, completed_at, tenant, learning_key, policy, lane, accepted, reward_value, first_try,
        playbook_version, arms, tokens, cost_usd)
    VALUES (
        of_uid, s #>> '{task,prompt}', s ->> 'status',
        atlas_labels(s -> 'metadata', s #>> '{task,tenant}', s #>> '{task,learning_key}', s -> 'dossier',
                     nullif(s -> 'route', 'null'))
            || atlas_recalled_labels(s -> 'student_memory', s -> 'teacher_memory')
            || atlas_token_usage(ARRAY(SELECT one -> 'usage' FROM jsonb_array_elements(s -> 'usage') AS one)),
        s ->> 'answer', atlas_reward(s -> 'reward'), atlas_reward_stats(s -> 'reward'),
        CASE WHEN s ->> 'reward' IS NOT NULL THEN jsonb_build_array((s -> 'reward') - 'verdicts') END,
        atlas_notes(s -> 'reward', 'student_note'), atlas_notes(s -> 'reward', 'teacher_note'),
        (s ->> 'created_at')::timestamptz, (s ->> 'finished_at')::timestamptz,
        s #>> '{task,tenant}', s #>> '{task,learning_key}', s ->> 'policy', s #>> '{route,lane}',
        (s ->> 'accepted')::boolean, (s #>> '{reward,value}')::double precision, stood,
        (s #>> '{student_memory,version}')::integer, atlas_arms(s -> 'student_memory'), used_tokens, used_cost)
    ON CONFLICT (uid) DO UPDATE SET
        status = EXCLUDED.status, metadata = EXCLUDED.metadata, final_answer = EXCLUDED.final_answer,
        reward = EXCLUDED.reward, reward_stats = EXCLUDED.reward_stats, reward_audit = EXCLUDED.reward_audit,
        student_learning = EXCLUDED.student_learning, teacher_learning = EXCLUDED.teacher_learning,
        completed_at = EXCLUDED.completed_at, lane = EXCLUDED.lane, accepted = EXCLUDED.accepted,
        reward_value = EXCLUDED.reward_value, first_try = EXCLUDED.first_try,
        playbook_version = EXCLUDED.playbook_version, arms = EXCLUDED.arms, tokens = greatest(old.tokens, EXCLUDED.tokens),
        cost_usd = greatest(old.cost_usd, EXCLUDED.cost_usd);
END $$;

-- Sessions that are there already get the new labels.
UPDATE sessions s SET metadata = s.metadata || atlas_recalled_labels(told.recalled -> 'student', told.recalled -> 'teacher')
FROM (SELECT DISTINCT ON (e.session) e.session, atlas_restored(e.session, e.payload) AS recalled
      FROM events e WHERE e.type = 'memory_recalled' ORDER BY e.session, e.seq DESC) AS told
WHERE s.uid = told.session;

UPDATE sessions s SET metadata = s.metadata || told.used
FROM (SELECT e.session, atlas_token_usage(array_agg(e.payload #> '{completion,usage}')) AS used
      FROM events e WHERE e.type = 'model_called' GROUP BY e.session) AS told
WHERE s.uid = told.session AND s.status <> 'running';

-- Events that wait in the default partition for want of their week's go there.
CREATE TEMPORARY TABLE strays ON COMMIT DROP AS
SELECT * FROM events_default WHERE substr(session::text, 15, 1) IN ('7', '8');
DELETE FROM events_default WHERE substr(session::text, 15, 1) IN ('7', '8');
SELECT atlas_make_weeks(ARRAY(SELECT DISTINCT session FROM strays));
INSERT INTO events SELECT * FROM strays;

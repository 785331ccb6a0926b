-- A column of ours named learning_key hid what published queries call so: metadata ->> 'learning_key' AS learning_key, then
-- GROUP BY learning_key. It is `key` now; `s.learning_key` still reads it, since that calls the function below.
ALTER TABLE sessions RENAME COLUMN learning_key TO key;

CREATE FUNCTION learning_key(of_session sessions) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT of_session.key $$;

-- As before, with the column's new name.
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
        INSERT INTO sessions (uid, task, metadata, created_at, tenant, key, policy, lease_owner)
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

-- As before, with the column's new name.
CREATE OR REPLACE FUNCTION atlas_commit(
    of_uid uuid, s jsonb, used_tokens bigint, used_cost double precision, stood boolean, books jsonb[], of_call uuid
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM atlas_publish(books, of_uid, of_call);
    INSERT INTO sessions AS old (
        uid, task, status, metadata, final_answer, reward, reward_stats, reward_audit, student_learning,
        teacher_learning, created_at, completed_at, tenant, key, policy, lane, accepted, reward_value, first_try,
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

-- As before, with the column's new name.
CREATE OR REPLACE FUNCTION atlas_note_drift(of_uid uuid, size integer, threshold double precision, least_sessions integer)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mine sessions;
    base record;
    reward_z double precision;
    tokens_z double precision;
    found jsonb;
BEGIN
    SELECT * INTO mine FROM sessions WHERE uid = of_uid;
    IF size = 0 OR mine.reward_value IS NULL OR mine.lane IS NULL OR mine.completed_at IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT count(*) AS n, avg(b.reward_value) AS reward, coalesce(stddev_samp(b.reward_value), 0) AS reward_std,
        avg(b.tokens)::double precision AS tokens, coalesce(stddev_samp(b.tokens), 0)::double precision AS tokens_std
    INTO base FROM (
        SELECT r.reward_value, r.tokens FROM (
            SELECT s.lane, s.policy, s.reward_value, s.tokens, s.completed_at FROM sessions s
            WHERE s.tenant = mine.tenant AND s.key = mine.key AND s.lane IS NOT NULL
              AND s.status IN ('succeeded', 'failed') AND s.completed_at <= mine.completed_at AND s.uid <> of_uid
            ORDER BY s.completed_at DESC LIMIT 4 * size) AS r
        WHERE r.lane = mine.lane AND r.policy = mine.policy AND r.reward_value IS NOT NULL
        ORDER BY r.completed_at DESC LIMIT size) AS b;
    IF base.n < least_sessions THEN
        RETURN NULL;
    END IF;
    reward_z := atlas_distance(mine.reward_value, base.reward, base.reward_std, 0.05);
    tokens_z := atlas_distance(mine.tokens, base.tokens, base.tokens_std, greatest(base.tokens / 10, 1));
    found := jsonb_build_object(
        'drift_alert', greatest(abs(reward_z), abs(tokens_z)) >= threshold,
        'score', CASE WHEN abs(tokens_z) > abs(reward_z) THEN tokens_z ELSE reward_z END,
        'reason', CASE WHEN abs(tokens_z) > abs(reward_z)
            THEN format('%s tokens against %s ± %s', mine.tokens, round(base.tokens), round(base.tokens_std))
            ELSE format('reward %s against %s ± %s', round(mine.reward_value::numeric, 2), round(base.reward::numeric, 2),
                        round(base.reward_std::numeric, 2)) END,
        'n', base.n,
        'reward', jsonb_build_object('value', mine.reward_value, 'mean', base.reward, 'std', base.reward_std, 'z', reward_z),
        'tokens', jsonb_build_object('value', mine.tokens, 'mean', base.tokens, 'std', base.tokens_std, 'z', tokens_z));
    UPDATE sessions SET metadata = metadata || jsonb_build_object('drift', found, 'drift_alert', found -> 'drift_alert')
    WHERE uid = of_uid;
    RETURN (found ->> 'drift_alert')::boolean;
END $$;

-- The index over scores is partial, and of a partial index the planner uses no statistics: it would take a third of all
-- sessions for good ones, and read the table instead.
CREATE STATISTICS sessions_score_stats ON ((reward_stats ->> 'score')::double precision) FROM sessions;

ANALYZE sessions;

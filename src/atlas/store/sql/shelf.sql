-- What pages show of playbooks. The newest versions are found in the index before any playbook is read.

-- name: shelf_books
SELECT p.tenant, p.key, p.audience, p.version, p.created_at, (
    SELECT coalesce(jsonb_object_agg(counted.state, counted.n), '{}')
    FROM (SELECT one ->> 'state' AS state, count(*) AS n FROM jsonb_array_elements(p.entries) AS one GROUP BY 1) AS counted
) AS states
FROM (SELECT tenant, key, audience, max(version) AS version FROM playbooks GROUP BY tenant, key, audience) AS newest
JOIN playbooks p USING (tenant, key, audience, version)
ORDER BY p.created_at DESC, p.tenant, p.key, p.audience LIMIT $1;

-- name: shelf_versions
SELECT p.version, p.created_at, p.session, jsonb_array_length(p.entries) AS entries
FROM playbooks p WHERE p.tenant = $1 AND p.key = $2 AND p.audience = $3 ORDER BY p.version DESC LIMIT $4;

-- name: shelf_moves
WITH seen AS (
    SELECT p.version, p.created_at, p.session, one ->> 'id' AS entry, one #>> '{cue,text}' AS cue, one ->> 'action' AS action,
        one ->> 'state' AS state, one ->> 'reason' AS reason,
        lag(one ->> 'state') OVER mine AS before, lag(p.version) OVER mine AS version_before,
        lead(p.version) OVER mine AS version_after
    FROM playbooks p, jsonb_array_elements(p.entries) AS one
    WHERE p.tenant = $1 AND p.key = $2 AND p.audience = $3
    WINDOW mine AS (PARTITION BY one ->> 'id' ORDER BY p.version)
)
SELECT * FROM (
    SELECT s.version, s.created_at AS at, s.session, s.entry, s.cue, s.action,
        CASE WHEN s.version_before = s.version - 1 THEN s.before END AS before, s.state AS after, s.reason
    FROM seen s WHERE s.version_before IS DISTINCT FROM s.version - 1 OR s.before IS DISTINCT FROM s.state
    UNION ALL
    SELECT p.version, p.created_at, p.session, s.entry, s.cue, s.action, s.state, NULL, ''
    FROM seen s JOIN playbooks p ON p.tenant = $1 AND p.key = $2 AND p.audience = $3 AND p.version = s.version + 1
    WHERE s.version_after IS DISTINCT FROM s.version + 1
) AS moves
ORDER BY version DESC, entry LIMIT $4;

-- name: shelf_brought
SELECT p.audience, p.version FROM playbooks p
WHERE p.tenant = $1 AND p.key = $2 AND p.session = $3 ORDER BY p.audience, p.version;

-- name: shelf_learnt
SELECT p.tenant, p.key, p.version, one AS entry
FROM (SELECT DISTINCT ON (p.audience) p.* FROM playbooks p WHERE p.tenant = $1 AND p.key = $2
      ORDER BY p.audience, p.version DESC) AS p, jsonb_array_elements(p.entries) AS one
WHERE one #> '{provenance,sessions}' ? $3;

-- name: shelf_candidates
SELECT p.tenant, p.key, p.version, one AS entry
FROM (SELECT tenant, key, audience, max(version) AS version FROM playbooks GROUP BY tenant, key, audience) AS newest
JOIN playbooks p USING (tenant, key, audience, version), jsonb_array_elements(p.entries) AS one
WHERE one ->> 'state' = 'candidate'
ORDER BY p.created_at DESC, p.tenant, p.key, p.audience, one ->> 'id' LIMIT $1;

-- Training runs, and the checkpoints that serve.

CREATE TABLE training_runs (
    id                uuid PRIMARY KEY,
    method            text NOT NULL,
    role              text NOT NULL,
    status            text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed')),
    failure           text,
    base              text NOT NULL,
    data_sha256       text NOT NULL,
    examples          integer NOT NULL,
    checkpoint        text,
    checkpoint_sha256 text,
    metrics           jsonb NOT NULL,
    manifest          jsonb NOT NULL,
    started_at        timestamptz NOT NULL,
    finished_at       timestamptz
);
CREATE INDEX training_runs_started_idx ON training_runs (started_at DESC);

-- The sessions a run learned from. They may be deleted; that they were used stays known.
CREATE TABLE training_run_sessions (
    run     uuid NOT NULL REFERENCES training_runs ON DELETE CASCADE,
    session uuid NOT NULL,
    PRIMARY KEY (run, session)
);
CREATE INDEX training_run_sessions_session_idx ON training_run_sessions (session);

CREATE TABLE policies (
    id         uuid PRIMARY KEY,
    role       text NOT NULL CHECK (role IN ('student', 'teacher')),
    state      text NOT NULL CHECK (state IN ('canary', 'active', 'retired', 'rolled_back')),
    sha256     text NOT NULL,
    run        uuid REFERENCES training_runs ON DELETE SET NULL,
    policy     jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
-- One checkpoint at most serves in a seat.
CREATE UNIQUE INDEX policies_active_idx ON policies (role) WHERE state = 'active';
CREATE INDEX policies_created_idx ON policies (created_at DESC);

-- Which of these files, from this one on, a database has seen.
CREATE TABLE "happy_migrations" (
    "version" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "appliedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "happy_migrations_pkey" PRIMARY KEY ("version")
);

-- The last attempt that each connection committed: how the outcome of a commit is found out whose
-- connection was lost. A row is rewritten by every transaction, so room is left to do that in place.
CREATE TABLE "happy_commits" (
    "writer" TEXT NOT NULL,
    "attempt" BIGINT NOT NULL,
    "at" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "happy_commits_pkey" PRIMARY KEY ("writer")
) WITH (fillfactor = 20);

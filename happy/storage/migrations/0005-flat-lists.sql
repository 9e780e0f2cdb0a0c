-- Lists whose cost must not grow with what an account has (docs/architecture.md).

-- GET /v2/sessions: in the order of the ids, with the moment that "changedSince" looks at beside them.
-- The collation makes this index the only one in the right order: the primary key is in the order of
-- every account's ids, and the planner would rather walk through that than through this one.
DROP INDEX "happy_Session_accountId_id_idx";
CREATE INDEX "happy_Session_accountId_id_updatedAt_idx"
    ON "Session" ("accountId", ("id" COLLATE "C") DESC, "updatedAt");

-- GET /v1/machines.
CREATE INDEX "happy_Machine_accountId_lastActiveAt_idx"
    ON "Machine" ("accountId", "lastActiveAt" DESC, "id");

-- Queries the original answers by scanning (schema.md 11).

-- The inactivity sweep.
CREATE INDEX "happy_Session_lastActiveAt_idx" ON "Session" ("lastActiveAt") WHERE "active";
CREATE INDEX "happy_Machine_lastActiveAt_idx" ON "Machine" ("lastActiveAt") WHERE "active";

-- GET /v2/sessions/active and GET /v2/sessions.
CREATE INDEX "happy_Session_accountId_lastActiveAt_idx"
    ON "Session" ("accountId", "lastActiveAt" DESC) WHERE "active";
CREATE INDEX "happy_Session_accountId_id_idx" ON "Session" ("accountId", "id" DESC);

-- POST /v1/usage/query.
CREATE INDEX "happy_UsageReport_accountId_createdAt_idx" ON "UsageReport" ("accountId", "createdAt");

-- An avatar that was fetched before.
CREATE INDEX "happy_UploadedFile_reuseKey_idx" ON "UploadedFile" ("reuseKey");

-- User search by the beginning of a name, in any case.
CREATE INDEX "happy_Account_username_idx" ON "Account" (lower("username") text_pattern_ops);

-- Removal of pairing requests that nobody answered.
CREATE INDEX "happy_TerminalAuthRequest_updatedAt_idx" ON "TerminalAuthRequest" ("updatedAt");
CREATE INDEX "happy_AccountAuthRequest_updatedAt_idx" ON "AccountAuthRequest" ("updatedAt");

-- A device that another account registered before.
CREATE INDEX "happy_AccountPushToken_token_idx" ON "AccountPushToken" ("token");

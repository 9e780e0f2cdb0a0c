-- What the operator has said of accounts: whether one is disabled, and up to when the tokens issued for it are
-- refused. Without a reference, so that the tokens of an account that is gone stay refused.
CREATE TABLE "happy_accounts" (
    "accountId" TEXT NOT NULL,
    "disabledAt" TIMESTAMP(3),
    "revokedAt" TIMESTAMP(3),
    CONSTRAINT "happy_accounts_pkey" PRIMARY KEY ("accountId")
);

-- Terminals that were let into an account. The id is that of the pairing request, which is deleted soon; tokens
-- name it as their "session". The machine is the last one that connected with such a token.
CREATE TABLE "happy_pairings" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL,
    "seenAt" TIMESTAMP(3),
    "machineId" TEXT,
    "revokedAt" TIMESTAMP(3),
    CONSTRAINT "happy_pairings_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "happy_pairings_accountId_fkey"
        FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX "happy_pairings_accountId_idx" ON "happy_pairings" ("accountId");
CREATE INDEX "happy_pairings_revokedAt_idx" ON "happy_pairings" ("revokedAt") WHERE "revokedAt" IS NOT NULL;

-- One row that every node looks at each second. The version grows with each change of the two tables above.
-- "registration" is what the operator has said for good, if anything; "passing" what holds until a time, or as
-- long as there are new accounts left to be made.
CREATE TABLE "happy_access" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "version" BIGINT NOT NULL DEFAULT 0,
    "registration" TEXT,
    "passing" TEXT,
    "until" TIMESTAMP(3),
    "left" INTEGER,
    CONSTRAINT "happy_access_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "happy_access_one_check" CHECK ("id" = 1)
);

INSERT INTO "happy_access" DEFAULT VALUES;

-- Unknown keys, by fingerprint: those that may make an account although registration is closed, and those that
-- were refused lately.
CREATE TABLE "happy_admissions" (
    "fingerprint" TEXT NOT NULL,
    "admittedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "happy_admissions_pkey" PRIMARY KEY ("fingerprint")
);

CREATE TABLE "happy_refusals" (
    "fingerprint" TEXT NOT NULL,
    "count" BIGINT NOT NULL,
    "lastAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "happy_refusals_pkey" PRIMARY KEY ("fingerprint")
);

CREATE INDEX "happy_refusals_lastAt_idx" ON "happy_refusals" ("lastAt");

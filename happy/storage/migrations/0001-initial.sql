-- The original server's final schema (schema.md 3 to 6), identifier for identifier, and its migration
-- tool's record of having made it (8.1), so that the original accepts the database again.

CREATE TYPE "RelationshipStatus" AS ENUM ('none', 'requested', 'pending', 'friend', 'rejected');

-- One row per user identity; "seq" numbers its updates, "feedSeq" its feed items.
CREATE TABLE "Account" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "settings" TEXT,
    "settingsVersion" INTEGER NOT NULL DEFAULT 0,
    "githubUserId" TEXT,
    "avatar" JSONB,
    "firstName" TEXT,
    "lastName" TEXT,
    "username" TEXT,
    "feedSeq" BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT "Account_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "Account_githubUserId_key" ON "Account" ("githubUserId");
CREATE UNIQUE INDEX "Account_publicKey_key" ON "Account" ("publicKey");
CREATE UNIQUE INDEX "Account_username_key" ON "Account" ("username");

-- Computers that ask to be paired.
CREATE TABLE "TerminalAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "responseAccountId" TEXT,
    "supportsV2" BOOLEAN NOT NULL DEFAULT false,
    CONSTRAINT "TerminalAuthRequest_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "TerminalAuthRequest_publicKey_key" ON "TerminalAuthRequest" ("publicKey");

-- Devices that ask to be linked to an account.
CREATE TABLE "AccountAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "responseAccountId" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccountAuthRequest_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "AccountAuthRequest_publicKey_key" ON "AccountAuthRequest" ("publicKey");

-- Where an account's devices receive push notifications.
CREATE TABLE "AccountPushToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccountPushToken_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "AccountPushToken_accountId_token_key" ON "AccountPushToken" ("accountId", "token");

-- One coding session; "seq" numbers its messages.
CREATE TABLE "Session" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "tag" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "active" BOOLEAN NOT NULL DEFAULT true,
    "lastActiveAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "agentState" TEXT,
    "agentStateVersion" INTEGER NOT NULL DEFAULT 0,
    "metadataVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA,
    CONSTRAINT "Session_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "Session_accountId_tag_key" ON "Session" ("accountId", "tag");
CREATE INDEX "Session_accountId_updatedAt_idx" ON "Session" ("accountId", "updatedAt" DESC);

-- Sealed messages of a session; "localId" is the sender's, for suppressing duplicates.
CREATE TABLE "SessionMessage" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "content" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "localId" TEXT,
    CONSTRAINT "SessionMessage_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "SessionMessage_sessionId_localId_key" ON "SessionMessage" ("sessionId", "localId");
CREATE INDEX "SessionMessage_sessionId_seq_idx" ON "SessionMessage" ("sessionId", "seq");

-- GitHub profiles linked to accounts.
CREATE TABLE "GithubUser" (
    "id" TEXT NOT NULL,
    "profile" JSONB NOT NULL,
    "token" BYTEA,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GithubUser_pkey" PRIMARY KEY ("id")
);

-- Neither read nor written.
CREATE TABLE "GithubOrganization" (
    "id" TEXT NOT NULL,
    "profile" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GithubOrganization_pkey" PRIMARY KEY ("id")
);

-- Neither read nor written.
CREATE TABLE "GlobalLock" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GlobalLock_pkey" PRIMARY KEY ("key")
);

-- Neither read nor written.
CREATE TABLE "RepeatKey" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "RepeatKey_pkey" PRIMARY KEY ("key")
);

-- Neither read nor written.
CREATE TABLE "SimpleCache" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "SimpleCache_pkey" PRIMARY KEY ("key")
);

-- Tokens and cost by session, one row per report key.
CREATE TABLE "UsageReport" (
    "id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "sessionId" TEXT,
    "data" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UsageReport_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "UsageReport_accountId_idx" ON "UsageReport" ("accountId");
CREATE UNIQUE INDEX "UsageReport_accountId_sessionId_key_key" ON "UsageReport" ("accountId", "sessionId", "key");
CREATE INDEX "UsageReport_sessionId_idx" ON "UsageReport" ("sessionId");

-- Computers that run sessions; the id is the client's.
CREATE TABLE "Machine" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "metadataVersion" INTEGER NOT NULL DEFAULT 0,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "active" BOOLEAN NOT NULL DEFAULT true,
    "lastActiveAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "daemonState" TEXT,
    "daemonStateVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA,
    CONSTRAINT "Machine_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "Machine_accountId_id_key" ON "Machine" ("accountId", "id");
CREATE INDEX "Machine_accountId_idx" ON "Machine" ("accountId");

-- Public images, which are avatars.
CREATE TABLE "UploadedFile" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "reuseKey" TEXT,
    "height" INTEGER,
    "thumbhash" TEXT,
    "width" INTEGER,
    CONSTRAINT "UploadedFile_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "UploadedFile_accountId_idx" ON "UploadedFile" ("accountId");
CREATE UNIQUE INDEX "UploadedFile_accountId_path_key" ON "UploadedFile" ("accountId", "path");

-- Sealed credentials for third-party vendors.
CREATE TABLE "ServiceAccountToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "vendor" TEXT NOT NULL,
    "token" BYTEA NOT NULL,
    "metadata" JSONB,
    "lastUsedAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "ServiceAccountToken_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "ServiceAccountToken_accountId_idx" ON "ServiceAccountToken" ("accountId");
CREATE UNIQUE INDEX "ServiceAccountToken_accountId_vendor_key" ON "ServiceAccountToken" ("accountId", "vendor");

-- Sealed documents with separately versioned header and body; the id is the client's.
CREATE TABLE "Artifact" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "header" BYTEA NOT NULL,
    "headerVersion" INTEGER NOT NULL DEFAULT 0,
    "body" BYTEA NOT NULL,
    "bodyVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "Artifact_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "Artifact_accountId_idx" ON "Artifact" ("accountId");
CREATE INDEX "Artifact_accountId_updatedAt_idx" ON "Artifact" ("accountId", "updatedAt" DESC);

-- Sealed keys by session and machine.
CREATE TABLE "AccessKey" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "machineId" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "data" TEXT NOT NULL,
    "dataVersion" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccessKey_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "AccessKey_accountId_idx" ON "AccessKey" ("accountId");
CREATE UNIQUE INDEX "AccessKey_accountId_machineId_sessionId_key" ON "AccessKey" ("accountId", "machineId", "sessionId");
CREATE INDEX "AccessKey_machineId_idx" ON "AccessKey" ("machineId");
CREATE INDEX "AccessKey_sessionId_idx" ON "AccessKey" ("sessionId");

-- One directed row for each viewer and other user.
CREATE TABLE "UserRelationship" (
    "fromUserId" TEXT NOT NULL,
    "toUserId" TEXT NOT NULL,
    "status" "RelationshipStatus" NOT NULL DEFAULT 'pending',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "acceptedAt" TIMESTAMP(3),
    "lastNotifiedAt" TIMESTAMP(3),
    CONSTRAINT "UserRelationship_pkey" PRIMARY KEY ("fromUserId", "toUserId")
);

CREATE INDEX "UserRelationship_fromUserId_status_idx" ON "UserRelationship" ("fromUserId", "status");
CREATE INDEX "UserRelationship_toUserId_status_idx" ON "UserRelationship" ("toUserId", "status");

-- Feed posts; a later post with the same "repeatKey" replaces an earlier one.
CREATE TABLE "UserFeedItem" (
    "id" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "counter" BIGINT NOT NULL,
    "repeatKey" TEXT,
    "body" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UserFeedItem_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "UserFeedItem_userId_counter_idx" ON "UserFeedItem" ("userId", "counter" DESC);
CREATE UNIQUE INDEX "UserFeedItem_userId_counter_key" ON "UserFeedItem" ("userId", "counter");
CREATE UNIQUE INDEX "UserFeedItem_userId_repeatKey_key" ON "UserFeedItem" ("userId", "repeatKey");

-- Versioned values by key; a NULL value is a deleted key.
CREATE TABLE "UserKVStore" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "value" BYTEA,
    "version" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UserKVStore_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "UserKVStore_accountId_idx" ON "UserKVStore" ("accountId");
CREATE UNIQUE INDEX "UserKVStore_accountId_key_key" ON "UserKVStore" ("accountId", "key");

-- Neither read nor written any more.
CREATE TABLE "VoiceConversation" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "elevenLabsConversationId" TEXT NOT NULL,
    "durationSecs" INTEGER,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "VoiceConversation_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "VoiceConversation_accountId_createdAt_idx" ON "VoiceConversation" ("accountId", "createdAt" DESC);
CREATE UNIQUE INDEX "VoiceConversation_elevenLabsConversationId_key" ON "VoiceConversation" ("elevenLabsConversationId");

-- The original's own record of its migrations.
CREATE TABLE "_prisma_migrations" (
    "id" VARCHAR(36) NOT NULL,
    "checksum" VARCHAR(64) NOT NULL,
    "finished_at" TIMESTAMPTZ,
    "migration_name" VARCHAR(255) NOT NULL,
    "logs" TEXT,
    "rolled_back_at" TIMESTAMPTZ,
    "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(),
    "applied_steps_count" INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT "_prisma_migrations_pkey" PRIMARY KEY ("id")
);

-- Foreign keys, once every table is there.
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_accountId_machineId_fkey"
    FOREIGN KEY ("accountId", "machineId") REFERENCES "Machine" ("accountId", "id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_sessionId_fkey"
    FOREIGN KEY ("sessionId") REFERENCES "Session" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "AccountAuthRequest" ADD CONSTRAINT "AccountAuthRequest_responseAccountId_fkey"
    FOREIGN KEY ("responseAccountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE "AccountPushToken" ADD CONSTRAINT "AccountPushToken_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "Account" ADD CONSTRAINT "Account_githubUserId_fkey"
    FOREIGN KEY ("githubUserId") REFERENCES "GithubUser" ("id") ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE "Artifact" ADD CONSTRAINT "Artifact_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "Machine" ADD CONSTRAINT "Machine_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "ServiceAccountToken" ADD CONSTRAINT "ServiceAccountToken_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE "SessionMessage" ADD CONSTRAINT "SessionMessage_sessionId_fkey"
    FOREIGN KEY ("sessionId") REFERENCES "Session" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "Session" ADD CONSTRAINT "Session_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "TerminalAuthRequest" ADD CONSTRAINT "TerminalAuthRequest_responseAccountId_fkey"
    FOREIGN KEY ("responseAccountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE "UploadedFile" ADD CONSTRAINT "UploadedFile_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "UsageReport" ADD CONSTRAINT "UsageReport_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;
ALTER TABLE "UsageReport" ADD CONSTRAINT "UsageReport_sessionId_fkey"
    FOREIGN KEY ("sessionId") REFERENCES "Session" ("id") ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE "UserFeedItem" ADD CONSTRAINT "UserFeedItem_userId_fkey"
    FOREIGN KEY ("userId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE "UserKVStore" ADD CONSTRAINT "UserKVStore_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE "UserRelationship" ADD CONSTRAINT "UserRelationship_fromUserId_fkey"
    FOREIGN KEY ("fromUserId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE "UserRelationship" ADD CONSTRAINT "UserRelationship_toUserId_fkey"
    FOREIGN KEY ("toUserId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE "VoiceConversation" ADD CONSTRAINT "VoiceConversation_accountId_fkey"
    FOREIGN KEY ("accountId") REFERENCES "Account" ("id") ON UPDATE CASCADE ON DELETE RESTRICT;

INSERT INTO "_prisma_migrations"
    ("id", "checksum", "migration_name", "started_at", "finished_at", "applied_steps_count")
SELECT gen_random_uuid()::text, "checksum", "name", now(), now(), 1 FROM (VALUES
    ('20250713002718_initial',
     'afe7b15d5c7580c37fb167a46b53841fe084c16833986be9ac7326a4483e67ff'),
    ('20250713004156_add_sessions',
     '37463034c7495d504af854c553e47463096ec3caf89a70cb593389fde950fa26'),
    ('20250713032124_add_tag_to_session',
     '9fd084845f76cbd8bb943cc499b14b2d86b8f08db6c15bc916e62a29e3654336'),
    ('20250714030924_add_session_metadata',
     '30091cf622ddc55af02fa4c85714999dc1c9c64ef383b55ffada7c67ec45d4c7'),
    ('20250714032124_session_timeouts',
     '4e3ec2db3101decf2b5fb8f957879bfd6a671eb857ee55434f3ce61362645abb'),
    ('20250715012822_add_metadata_version_agent_state',
     '61b4a2e7ae1511fc8b12933e828256395fae8388f132814a6351688cfc4f8f3c'),
    ('20250718031550_add_local_id_to_session_message',
     'c9611eba15fc1aaf0c24c4372b53836b50924d13cac65470cd57f9d7f34a27d1'),
    ('20250718032748_add_push_token',
     '94c98798277c5f174f86fad0e02650ecb4dd141b162f35a5770973ecbd5679bc'),
    ('20250719042829_add_terminal_auth_request',
     '94ae2a81e40f811561b54b991cabbcc68d04c96da2cd90d530cc423055fce0f5'),
    ('20250719061508_add_response_account',
     'b47856a7009e81ddcdd836ec91bdc2c9fb7f88692ddcc06452b3085eff3764f7'),
    ('20250721073743_add_usage_report',
     '38803641be7cbceed040d13a7fa7d2c69875f36adfb7557c0f7877c1f3e62fc1'),
    ('20250726092110_remove_updates',
     'ad96e1eafa29fe7450a21f66f7dd1526db378d35d2f7989850300415c2de8600'),
    ('20250726205102_add_settings_to_account',
     '0d42c5c7b544a0eb2aa48330e6e10f16a7782ef9878d353884a3f91b65c751b3'),
    ('20250726205206_add_account_settings_version',
     '169ddb5d7366162886a95d8264f6e6795d54c7fd9bbf9fab7b16379d6ac3b9b4'),
    ('20250812092041_add_machine_model',
     'f59d83818092b809c3f998ddda75a4d96220bb37807f3a318f54925628d03fcc'),
    ('20250816171155_add_app_to_app_authentication',
     '204db93663756692517a9e4178d0674ceab7693fbf96b4c2552085b6c45b6b8d'),
    ('20250818044258_add_daemon_state_to_machine',
     '1c5fa021745e72b31f1c8bbbe6686cf053b26a072e316fc76d0a6d965557bb4e'),
    ('20250820051609_add_session_id_seq_index',
     '1493b4c1545a310fcd4579ba27800baa781fb74e72f35cd9f453333f3e209816'),
    ('20250820052449_add_session_sort',
     'f2f5c1dad9a69de87077e49ac0765ccb31fe3134fe79b96b6b02727faed0c78f'),
    ('20250827015520_add_github_entities',
     '905e9843f4644d3dc4edcfd03a6d2fdf95417c1d80ead13dd2943708a67aa53c'),
    ('20250827044624_add_user_profile_fields',
     'e806d51c74c829d9dc6fbda05502318a28b7ca05be18b397608d12d6a95ccbe1'),
    ('20250827045037_add_reuse_key_to_file',
     '0417c6737e93c4f442aca5fba9ff6ee3c4919f3182625294753973bdfbc45f91'),
    ('20250827051355_add_image_parameters',
     'b1242cf5a043f06277e72610f72b1c4456534719e1410a644baf06bfd75fbce4'),
    ('20250901205028_add_service_account_tokens',
     '7b7955381a2e19593f54c3a28df62c925c3d940c621efa54403b5ae574c69b39'),
    ('20250908050408_add_data_encryption_key',
     '58c3eb22b41246c51dfd79280e98f54543dae8b715eda7b5ef54d2b34a7b8e43'),
    ('20250908052114_add_machine_data_encryption_key',
     '5dcc9dfe56a18b1696878bd0ab22ebb2b33606892964207b8f227168b9a2284b'),
    ('20250911030241_add_version2_field',
     '047eaf5633408378030123d828d663ffb167dccdbfaae3fc9cf8abf4f5396818'),
    ('20250917052000_add_artefacts',
     'cf475b55ae1842d4cdb0c350098411f54ac0ea55eaf88fd94021a058e9a72136'),
    ('20250917055002_add_access_key',
     'c6014c2a89ec2618addd34ce4a876ee816a3e9f4b62d87f9e253d001b2a9a94c'),
    ('20250918045344_add_friendships',
     '8ed721aded6b0cf6882b1bda2bdadc349e789042b55f10debe1aea9214f3a1d1'),
    ('20250919021354_fix_relationship_status',
     '3ce1a072ec3b8e60daced5b36fd00ae995a3ac4bbe237689b669c172698a74e2'),
    ('20250920025406_add_username',
     'bd5ef1a34ef99c69b4d5eec2d76c793de6d3721052a2314018cc86d0bfffa24a'),
    ('20250920035415_make_github_user_id_unique',
     'cd815eb6d6410979f1d4b6625e184a44a50d0fe084a0c0cb9e0420a078566cd9'),
    ('20250920213557_add_user_feed',
     '32f7d374b5149281a312a8a42104fa6fb2cb4719d748c2a40277fa9d702a4628'),
    ('20250920215413_add_last_notified_at',
     'c72b53a43aaa2f66506c1398400963001cf6de6dd3fc63004237cdd90ebec7fd'),
    ('20250922000310_add_user_kv',
     'a3c4cb836188ee2a89a716e2f2b5812967fb00baf4d64c7e1af9eb57eb7fb793'),
    ('20260407053500_add_voice_conversation',
     '95355c15dec760d5850faf7761c516fdb2aaf32f5aa2eed69726257fb1c13778')
) AS "Known"("name", "checksum");

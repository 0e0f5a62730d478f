-- user: 1e840010-d367-407f-8b5c-b3aaba9f086e
-- refresh_token: WZG80s6Rt3E9jtV5ROJ7Fe7kNCeHPqNWTSGtshleqYw
BEGIN TRANSACTION;
CREATE TABLE audit_log (
        seq BIGINT PRIMARY KEY,
        at BIGINT NOT NULL,
        event TEXT NOT NULL,
        facts TEXT NOT NULL,
        user_id TEXT,
        subject TEXT,
        salt TEXT,
        subject_digest TEXT NOT NULL,
        hash TEXT NOT NULL
    );
INSERT INTO "audit_log" VALUES(1,1800000000000,'workspace_connected','{}','1e840010-d367-407f-8b5c-b3aaba9f086e','{"connection":"5a3ab065-87be-4b66-b301-cc73ce97bbbc","workspace":"0b1f0c9e-2222-4a4a-8c8c-000000000002"}','t26lubuplVcvEVBpjubpdQJjfR9wihog-n_a9EDFQGo','a836948b318ad68b8e912e1559896287d94e3eb9ff616685105ffac8ededf047','1b5126c2491fdd0cfe3e9fd3be28f10d0c24177e9a8f6e50e8d6e7a82b7bca1e');
INSERT INTO "audit_log" VALUES(2,1800000000000,'session_opened','{}','1e840010-d367-407f-8b5c-b3aaba9f086e','{"session":"513a289c-2d0c-41ca-92e0-407d648b0cbc"}','pbozMAbvfmKpJ4jv1qxsQlTOQZ6bK6w3U9RC333Q4I0','13f43156550dfa2391fcf26de6aee5a5878f6890c2996cd67a2cd23e109be12e','e1942888475df3aa7c641a31566cbb9079ce44783bca2d772fdd06fd9bd24dcc');
INSERT INTO "audit_log" VALUES(3,1800000000000,'token_opened','{"purpose":"revoke"}','1e840010-d367-407f-8b5c-b3aaba9f086e','{"connection":"5a3ab065-87be-4b66-b301-cc73ce97bbbc","workspace":"0b1f0c9e-2222-4a4a-8c8c-000000000002"}','IE2GJ5Zr-WkqO-GccCWMxECO0cNcsRseWnoKqI_GJzM','85cc6204d2382d7afdba459282fb4d6136a5348bdfa02bb32ee82b76a4791a91','7c8623412473cc508d9c21b0a251ea00cb206dbc1e070d764783b4c8630029ec');
INSERT INTO "audit_log" VALUES(4,1800000000000,'workspace_connected','{}','1e840010-d367-407f-8b5c-b3aaba9f086e','{"connection":"08e11508-a84e-4cd7-8c52-73ad4c3b2119","workspace":"0b1f0c9e-1111-4a4a-8c8c-000000000001"}','SpHYZad1L5pgPcOU7EfvWPh4g5Yox1s3GQ9A0JIHtks','0620f2087d3ceb4533a1402a988a4324cf0933f65b271405152413d2229e6360','00d5bad89629696f1ada3526acaada93a4301e96c8d90af0d7f9fa3294d02558');
INSERT INTO "audit_log" VALUES(5,1800000000000,'session_opened','{}','1e840010-d367-407f-8b5c-b3aaba9f086e','{"session":"324330b4-1722-466d-b571-78a952d3c067"}','7vlbSejzCXBo7s3W7egC3CMltR8308lZKaKF-bZZC4s','ac761dfec28a4d8024c5534861bd259bc3d0744f930ef8b2356e54d14cff7782','e4ed758f3167537c2f8caf78cf4024acc1c461a69d8c83026600ea89af25eaf7');
CREATE TABLE broker_instances (
      id TEXT PRIMARY KEY,
      seen_at BIGINT NOT NULL
    );
INSERT INTO "broker_instances" VALUES('0247bdc4-f22d-43bc-a5a7-0fcc3582b575',1800000001000);
CREATE TABLE broker_state (
      name TEXT PRIMARY KEY,
      kid TEXT NOT NULL,
      wrapped_key BLOB NOT NULL,
      value_sealed BLOB NOT NULL,
      created_at BIGINT NOT NULL
    );
INSERT INTO "broker_state" VALUES('pepper','one',X'01443DDDAB67A1F80DE1914A78657C1C7521900316BFF50176BFE11F3E63ECA7A575E1168B1E89967B1FCC6C59180A1AD3F18C0EEB5E2C7C41F28AE0AC',X'01E851D35B40BCCED6AE49064F13BC3391F4FA70D023B74F508A3A82B7FEA4CD0E5AE1DDC1692148ADDBC65836330D4A0DDC94E1DAD4D251B1ACA6894C785D14004CB7D6373CC387',1800000000000);
CREATE TABLE handoffs (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      code_challenge TEXT NOT NULL,
      device TEXT NOT NULL,
      expires_at BIGINT NOT NULL,
      used_at BIGINT,
      session_id TEXT
    );
INSERT INTO "handoffs" VALUES('1897790c8f84cd2bbd467124453b75265c08579d772edccda9cc26b4bd56b09d','1e840010-d367-407f-8b5c-b3aaba9f086e','7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM','Ada''s laptop',1800000060000,1800000000000,'513a289c-2d0c-41ca-92e0-407d648b0cbc');
INSERT INTO "handoffs" VALUES('3b1c42c8d32adecfc1b04cbd699b43bdd81164e98ea42c9454f5a67d81e5e6e9','1e840010-d367-407f-8b5c-b3aaba9f086e','7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM','Ada''s laptop',1800000060000,1800000000000,'324330b4-1722-466d-b571-78a952d3c067');
CREATE TABLE idempotency (
        user_id TEXT NOT NULL,
        workspace_id TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('sending', 'done', 'unknown')),
        owner TEXT NOT NULL,
        send_by BIGINT NOT NULL,
        lease_until BIGINT NOT NULL,
        status BIGINT,
        created TEXT,
        answered BIGINT NOT NULL DEFAULT 0,
        latest_sent_at BIGINT,
        expires_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, workspace_id, key)
    );
INSERT INTO "idempotency" VALUES('1e840010-d367-407f-8b5c-b3aaba9f086e','0b1f0c9e-1111-4a4a-8c8c-000000000001','0199aaaa-0000-7000-8000-000000000001','print','done','o',1800000001000,1800000001000,200,'["3a1f0c9e-0000-4a4a-8c8c-0000000000bb"]',1,NULL,1800086401000);
CREATE TABLE notion_connections (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      workspace_id TEXT NOT NULL,
      workspace_name TEXT,
      workspace_icon TEXT,
      bot_id TEXT NOT NULL,
      notion_owner_id TEXT NOT NULL,
      kid TEXT NOT NULL,
      wrapped_key BLOB NOT NULL,
      access_token_sealed BLOB NOT NULL,
      refresh_token_sealed BLOB,
      version BIGINT NOT NULL DEFAULT 1,
      reauth_required BIGINT NOT NULL DEFAULT 0 CHECK (reauth_required IN (0, 1)),
      lease_owner TEXT,
      lease_until BIGINT NOT NULL DEFAULT 0,
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL,
      UNIQUE (user_id, workspace_id)
    );
INSERT INTO "notion_connections" VALUES('08e11508-a84e-4cd7-8c52-73ad4c3b2119','1e840010-d367-407f-8b5c-b3aaba9f086e','0b1f0c9e-1111-4a4a-8c8c-000000000001','Lovelace',NULL,'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001','c2f20311-9e54-4d11-8c79-7398424ae41e','one',X'01C914570066FB8C80845A587004D24A60D387877890DEEF926BE3781E588C2C63E20F3BE9678981400F203AA792B3640544CEAE4230766848A819F433',X'018704585EDE20E0DDAB2AC3AF7F07C4BBDE258CE92033E720956A65423ED5FB25CEF2B5D85F6BEE9862CD64C71607CD',X'013857D3FE5BBC2AF1D73AFD1F0A12B591742F53CAE7A79FBE49599589C1C4652EB7001205DA5C409C1BFFEE41E8452796',1,0,NULL,0,1800000000000,1800000000000);
CREATE TABLE oauth_states (
      state_hash TEXT PRIMARY KEY,
      browser_hash TEXT NOT NULL,
      client_state TEXT NOT NULL,
      code_challenge TEXT NOT NULL,
      device TEXT NOT NULL,
      return_to TEXT NOT NULL,
      expires_at BIGINT NOT NULL
    );
INSERT INTO "oauth_states" VALUES('5e9997c7c8ce024b0b1d92de0bf189f45b946cea53202dc7083391bb8e81ae4c','8bac6c089c1924010559eb277b9fc7e9f283fc4c92e8baaee2cca3ac68feba11','daemon-state-1','7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM','Ada''s laptop','notion-clipper://auth',1800000600000);
CREATE TABLE pending_revocations (
      id TEXT PRIMARY KEY,
      kid TEXT NOT NULL,
      wrapped_key BLOB NOT NULL,
      token_sealed BLOB NOT NULL,
      attempts BIGINT NOT NULL DEFAULT 0,
      next_attempt_at BIGINT NOT NULL,
      created_at BIGINT NOT NULL
    );
INSERT INTO "pending_revocations" VALUES('3a4814ad-0a7a-4e07-bb63-6583b4beab5b','one',X'01EE8886AB64A59EFAA5B0DCE9F1A2ED273EEB485F23D5634482ABF99988DD4E7BC7EE171466D806932D7D8D7B856ED7FA1ADC016ADACA1C509849EA39',X'018895C187ADE7F8DECCA72BAC23601462B2FC89F1881BDC22C99625F7C63029A2029802B2573696097F8F09ED217441',1,1800000030000,1800000000000);
INSERT INTO "pending_revocations" VALUES('61a566e3-1bb6-4eaa-b126-297ea448a439','one',X'016F7726502BE141C619B8558BD29892BB10C04082DF728267022CD44621E12B3DF2997128A1BD972A2126936539812CC5F1B6A4396F3656DB379C12CA',X'0142D17E21096810BE123513BD835FA9BE24C616A5CEA2FF92DEAB98C9ECD21BAB3B086015A0E3AF890ADD41B1BFB6FD37',1,1800000030000,1800000000000);
CREATE TABLE push_log (
      seq BIGINT PRIMARY KEY,
      at BIGINT NOT NULL,
      workspace_id TEXT NOT NULL,
      page_id TEXT NOT NULL,
      what TEXT NOT NULL,
      bots TEXT,
      accessible_by TEXT
    );
INSERT INTO "push_log" VALUES(1,1800000001000,'0b1f0c9e-1111-4a4a-8c8c-000000000001','3a1f0c9e-0000-4a4a-8c8c-00000000000a','content',NULL,'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001');
CREATE TABLE push_state (
      name TEXT PRIMARY KEY,
      head BIGINT NOT NULL,
      floor BIGINT NOT NULL
    );
INSERT INTO "push_state" VALUES('log',1,0);
CREATE TABLE refresh_tokens (
      token_hash TEXT PRIMARY KEY,
      session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
      predecessor_hash TEXT,
      issued_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL,
      first_used_at BIGINT,
      retired_at BIGINT
    );
INSERT INTO "refresh_tokens" VALUES('01f8b790bcd9a2308af759f1c5ad18ae9c206b1f93f1fe693b7860c4fddd8745','513a289c-2d0c-41ca-92e0-407d648b0cbc',NULL,1800000000000,1805184000000,NULL,NULL);
INSERT INTO "refresh_tokens" VALUES('89764bf0830557ecaa2528bafcce200c009bce09c5126d1c313757a3a4a6e8b3','324330b4-1722-466d-b571-78a952d3c067',NULL,1800000000000,1805184000000,1800000000000,NULL);
INSERT INTO "refresh_tokens" VALUES('cb0fccf3882b189ec9e5b7e041b7a79b911a6d925a5ffd2f30e60081ef6fd86b','324330b4-1722-466d-b571-78a952d3c067','89764bf0830557ecaa2528bafcce200c009bce09c5126d1c313757a3a4a6e8b3',1800000000000,1805184000000,NULL,NULL);
CREATE TABLE schema_migrations (
      name TEXT PRIMARY KEY,
      checksum TEXT NOT NULL,
      applied_at BIGINT NOT NULL
    );
INSERT INTO "schema_migrations" VALUES('keycheck/001','e12ca71781821069321f4518ec8b66dff992ec057e8833d4b21ced7477a63cba',1800000000000);
INSERT INTO "schema_migrations" VALUES('accounts/001','ee569772a2b9e51214a8e3cfe399bb2f2610ede8a8136343167e286831f7e4b0',1800000000000);
INSERT INTO "schema_migrations" VALUES('accounts/002','20db531479969cca94d140a49e6ab2dd7b451cf94b46b81a964ac19693dd7243',1800000000000);
INSERT INTO "schema_migrations" VALUES('accounts/003','96bd00bbf5564db473fdcbef2f8e953cc41393213109da4789973aeffa8112d8',1800000000000);
INSERT INTO "schema_migrations" VALUES('accounts/004','37b5d7a0f09fb9f3926fec51c9baddad321492f77e12a9f35327ab8db265ed5b',1800000000000);
INSERT INTO "schema_migrations" VALUES('connections/001','26195e80832487dcbee8214471064c8c819eec1dedd457b77f4f7d617f92f1ed',1800000000000);
INSERT INTO "schema_migrations" VALUES('connections/002','576caa0d159161d657c49d0f8c2e0c26edfb63b13cc8ed186e0c4a7e0feaaaff',1800000000000);
INSERT INTO "schema_migrations" VALUES('connections/003','1fab64c7d8a9cba5e2f1977f00805f5792259566511d5f2225cead424d21fac3',1800000000000);
INSERT INTO "schema_migrations" VALUES('sessions/001','f4d474862b79ee01533b84e274454bc93648daf815f9cb32b6338a4e92295238',1800000000000);
INSERT INTO "schema_migrations" VALUES('sessions/002','278939ba5747b8146d0ac0bd94fe519a671df766eafe2b3ff278759388f19a69',1800000000000);
INSERT INTO "schema_migrations" VALUES('sessions/003','e04adfa4da8fb08260238b9751ee2b7e25e78e7d0ff715192b0abee6599461e2',1800000000000);
INSERT INTO "schema_migrations" VALUES('sessions/004','9435978fae0e72b1aecb824c2af8b293e51d960b684e3dc0836abd62330318ad',1800000000000);
INSERT INTO "schema_migrations" VALUES('sessions/005','9efa995445c9b5e974c4672f0627a0c12ebd4cec91d1444524c7b5bc0118cc21',1800000000000);
INSERT INTO "schema_migrations" VALUES('signins/001','b1504bc3494ad02cc335ef4372ec28ba7e934ec947e103e5a27fc478951a23bd',1800000000000);
INSERT INTO "schema_migrations" VALUES('signins/002','ffcddc644d81495b1f1e0ddb8cc5b927441ee94e52e7f39a36671356be542e89',1800000000000);
INSERT INTO "schema_migrations" VALUES('idempotency/001','a41ba53fdb920df189a072671c1d44f5feb83ddd64e1d739bb2dd97c143a5bec',1800000000000);
INSERT INTO "schema_migrations" VALUES('idempotency/002','38fc8155a8c014de513d4af877375113518a99b1577a773dd3bdd7a6f8f25396',1800000000000);
INSERT INTO "schema_migrations" VALUES('audit/001','79c0fdf7008aec0d8c252d5181512c960c514b5b0bc4acd268a310a3241671a7',1800000000000);
INSERT INTO "schema_migrations" VALUES('audit/002','0daf86dc0b10216e6d7f5724d616dc63e3e5c20d47a20a29358827d139b87b1e',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/001','7f558206e54152d9f834120eb397a01bbd1744279dea4163ec7fb5c31554ba49',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/002','e4cc2206733e87932379b84ddf792be934512936b08ae83b9893cef0874a3c63',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/003','95ef32f77a20bdabae4fc40586cba61eab27dbd6b1881527f770eeef5a1c201e',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/004','b0153521204edcd30e2e9ccf08530185743c800d9fa764afa43440da86bf563e',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/005','4dd856946b1f89934b6dada3a78ee8a44a924a17cc37f84bc13dd9e439371a31',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/006','a8e51aa9e369f6714ae34ba3d473b46909aad90214aa3034a5a3ca31c0272d91',1800000000000);
INSERT INTO "schema_migrations" VALUES('push/007','f465db7ff9231cb7a2c95b92ed075c808cbe37e4eae7ff610d0abd6b9847125e',1800000000000);
INSERT INTO "schema_migrations" VALUES('instances/001','eb76377e5044d2301f9a7685955d5553d3c030dad1f7991a0992bfa27e1678b9',1800000000000);
CREATE TABLE sessions (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL REFERENCES user_profiles (id) ON DELETE CASCADE,
      device TEXT NOT NULL,
      created_at BIGINT NOT NULL,
      last_used_at BIGINT NOT NULL,
      expires_at BIGINT NOT NULL,
      revoked_at BIGINT,
      revoked_why TEXT
    );
INSERT INTO "sessions" VALUES('513a289c-2d0c-41ca-92e0-407d648b0cbc','1e840010-d367-407f-8b5c-b3aaba9f086e','Ada''s laptop',1800000000000,1800000000000,1805184000000,NULL,NULL);
INSERT INTO "sessions" VALUES('324330b4-1722-466d-b571-78a952d3c067','1e840010-d367-407f-8b5c-b3aaba9f086e','Ada''s laptop',1800000000000,1800000000000,1805184000000,NULL,NULL);
CREATE TABLE subscriptions (
      id TEXT PRIMARY KEY,
      user_id TEXT NOT NULL UNIQUE REFERENCES user_profiles (id) ON DELETE CASCADE,
      tier TEXT NOT NULL DEFAULT 'FREE' CHECK (tier IN ('FREE', 'PRO', 'TEAM')),
      status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'trialing', 'past_due',
        'incomplete', 'incomplete_expired', 'unpaid', 'paused', 'canceled')),
      stripe_customer_id TEXT UNIQUE,
      stripe_subscription_id TEXT UNIQUE,
      current_period_start BIGINT,
      current_period_end BIGINT,
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL
    );
INSERT INTO "subscriptions" VALUES('49195c4b-6e2e-43cf-99b4-e48228f325b2','1e840010-d367-407f-8b5c-b3aaba9f086e','FREE','active',NULL,NULL,NULL,NULL,1800000000000,1800000000000);
CREATE TABLE user_profiles (
      id TEXT PRIMARY KEY,
      notion_user_id TEXT NOT NULL UNIQUE,
      email TEXT,
      full_name TEXT,
      avatar_url TEXT,
      auth_provider TEXT NOT NULL DEFAULT 'notion'
        CHECK (auth_provider IN ('google', 'notion', 'email')),
      created_at BIGINT NOT NULL,
      updated_at BIGINT NOT NULL
    );
INSERT INTO "user_profiles" VALUES('1e840010-d367-407f-8b5c-b3aaba9f086e','c2f20311-9e54-4d11-8c79-7398424ae41e','ada@example.org','Ada',NULL,'notion',1800000000000,1800000000000);
CREATE TABLE webhook_events (
      id TEXT PRIMARY KEY,
      received_at BIGINT NOT NULL,
      is_pending BIGINT NOT NULL CHECK (is_pending IN (0, 1)),
      workspace_id TEXT NOT NULL,
      page_id TEXT NOT NULL,
      what TEXT NOT NULL,
      bots TEXT,
      accessible_by TEXT
    );
INSERT INTO "webhook_events" VALUES('event-000001',1800000000000,0,'','','content',NULL,NULL);
INSERT INTO "webhook_events" VALUES('event-000002',1800000001000,1,'0b1f0c9e-1111-4a4a-8c8c-000000000001','3a1f0c9e-0000-4a4a-8c8c-00000000000a','properties',NULL,'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001');
CREATE TABLE workspace_history (
      workspace_hash TEXT PRIMARY KEY,
      first_user_id TEXT REFERENCES user_profiles (id) ON DELETE SET NULL,
      first_user_hash TEXT NOT NULL,
      is_blocked BIGINT NOT NULL DEFAULT 0 CHECK (is_blocked IN (0, 1)),
      block_reason TEXT,
      created_at BIGINT NOT NULL
    );
INSERT INTO "workspace_history" VALUES('dbaab3c10a03230e1377a42bf2ad432fee171e932d05031c44efe85ae335e82f','1e840010-d367-407f-8b5c-b3aaba9f086e','c6225ab0787fa588852eaac5a1c97962e28efd504245439f9fd4c363020fba6c',0,NULL,1800000000000);
INSERT INTO "workspace_history" VALUES('7850d468c4f5f4b1397435b097a8576229c0153dd82150fb2e51ceb2e909c24e','1e840010-d367-407f-8b5c-b3aaba9f086e','c6225ab0787fa588852eaac5a1c97962e28efd504245439f9fd4c363020fba6c',0,NULL,1800000000000);
CREATE INDEX workspace_history_first_user ON workspace_history (first_user_id);
CREATE INDEX pending_revocations_due ON pending_revocations (next_attempt_at);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
CREATE INDEX oauth_states_expires ON oauth_states (expires_at);
CREATE INDEX idempotency_expires ON idempotency (expires_at);
CREATE INDEX audit_log_user ON audit_log (user_id, seq);
CREATE INDEX webhook_events_pending ON webhook_events (received_at) WHERE is_pending = 1;
CREATE INDEX webhook_events_received ON webhook_events (received_at);
CREATE INDEX push_log_at ON push_log (at);
COMMIT;

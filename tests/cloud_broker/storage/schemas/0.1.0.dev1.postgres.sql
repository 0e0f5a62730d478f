-- user: 0ae0d961-48b7-4c11-8e55-4ddae48df2a2
-- refresh_token: RroWEDT1XcpW-zYPUR-l7Q3koZAJLmoidtJZYi6V7wY
CREATE TABLE public.audit_log (
    seq bigint NOT NULL,
    at bigint NOT NULL,
    event text NOT NULL,
    facts text NOT NULL,
    user_id text,
    subject text,
    salt text,
    subject_digest text NOT NULL,
    hash text NOT NULL
);
CREATE TABLE public.broker_instances (
    id text NOT NULL,
    seen_at bigint NOT NULL
);
CREATE TABLE public.broker_state (
    name text NOT NULL,
    kid text NOT NULL,
    wrapped_key bytea NOT NULL,
    value_sealed bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.handoffs (
    id text NOT NULL,
    user_id text NOT NULL,
    code_challenge text NOT NULL,
    device text NOT NULL,
    expires_at bigint NOT NULL,
    used_at bigint,
    session_id text
);
CREATE TABLE public.idempotency (
    user_id text NOT NULL,
    workspace_id text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    state text NOT NULL,
    owner text NOT NULL,
    send_by bigint NOT NULL,
    lease_until bigint NOT NULL,
    status bigint,
    created text,
    answered bigint DEFAULT 0 NOT NULL,
    latest_sent_at bigint,
    expires_at bigint NOT NULL,
    CONSTRAINT idempotency_state_check CHECK ((state = ANY (ARRAY['sending'::text, 'done'::text, 'unknown'::text])))
);
CREATE TABLE public.notion_connections (
    id text NOT NULL,
    user_id text NOT NULL,
    workspace_id text NOT NULL,
    workspace_name text,
    workspace_icon text,
    bot_id text NOT NULL,
    notion_owner_id text NOT NULL,
    kid text NOT NULL,
    wrapped_key bytea NOT NULL,
    access_token_sealed bytea NOT NULL,
    refresh_token_sealed bytea,
    version bigint DEFAULT 1 NOT NULL,
    reauth_required bigint DEFAULT 0 NOT NULL,
    lease_owner text,
    lease_until bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    CONSTRAINT notion_connections_reauth_required_check CHECK ((reauth_required = ANY (ARRAY[(0)::bigint, (1)::bigint])))
);
CREATE TABLE public.oauth_states (
    state_hash text NOT NULL,
    browser_hash text NOT NULL,
    client_state text NOT NULL,
    code_challenge text NOT NULL,
    device text NOT NULL,
    return_to text NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.pending_revocations (
    id text NOT NULL,
    kid text NOT NULL,
    wrapped_key bytea NOT NULL,
    token_sealed bytea NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    next_attempt_at bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.push_log (
    seq bigint NOT NULL,
    at bigint NOT NULL,
    workspace_id text NOT NULL,
    page_id text NOT NULL,
    what text NOT NULL,
    bots text,
    accessible_by text
);
CREATE TABLE public.push_state (
    name text NOT NULL,
    head bigint NOT NULL,
    floor bigint NOT NULL
);
CREATE TABLE public.refresh_tokens (
    token_hash text NOT NULL,
    session_id text NOT NULL,
    predecessor_hash text,
    issued_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    first_used_at bigint,
    retired_at bigint
);
CREATE TABLE public.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL
);
CREATE TABLE public.sessions (
    id text NOT NULL,
    user_id text NOT NULL,
    device text NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint,
    revoked_why text
);
CREATE TABLE public.subscriptions (
    id text NOT NULL,
    user_id text NOT NULL,
    tier text DEFAULT 'FREE'::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    stripe_customer_id text,
    stripe_subscription_id text,
    current_period_start bigint,
    current_period_end bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    CONSTRAINT subscriptions_status_check CHECK ((status = ANY (ARRAY['active'::text, 'trialing'::text, 'past_due'::text, 'incomplete'::text, 'incomplete_expired'::text, 'unpaid'::text, 'paused'::text, 'canceled'::text]))),
    CONSTRAINT subscriptions_tier_check CHECK ((tier = ANY (ARRAY['FREE'::text, 'PRO'::text, 'TEAM'::text])))
);
CREATE TABLE public.user_profiles (
    id text NOT NULL,
    notion_user_id text NOT NULL,
    email text,
    full_name text,
    avatar_url text,
    auth_provider text DEFAULT 'notion'::text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    CONSTRAINT user_profiles_auth_provider_check CHECK ((auth_provider = ANY (ARRAY['google'::text, 'notion'::text, 'email'::text])))
);
CREATE TABLE public.webhook_events (
    id text NOT NULL,
    received_at bigint NOT NULL,
    is_pending bigint NOT NULL,
    workspace_id text NOT NULL,
    page_id text NOT NULL,
    what text NOT NULL,
    bots text,
    accessible_by text,
    CONSTRAINT webhook_events_is_pending_check CHECK ((is_pending = ANY (ARRAY[(0)::bigint, (1)::bigint])))
);
CREATE TABLE public.workspace_history (
    workspace_hash text NOT NULL,
    first_user_id text,
    first_user_hash text NOT NULL,
    is_blocked bigint DEFAULT 0 NOT NULL,
    block_reason text,
    created_at bigint NOT NULL,
    CONSTRAINT workspace_history_is_blocked_check CHECK ((is_blocked = ANY (ARRAY[(0)::bigint, (1)::bigint])))
);
INSERT INTO public.audit_log VALUES (1, 1800000000000, 'workspace_connected', '{}', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '{"connection":"091b4f1b-bb41-4541-b4b1-a71f205eabb6","workspace":"0b1f0c9e-2222-4a4a-8c8c-000000000002"}', 'wEeVuaAOa__D3clUwjJv2UVwZ5I1N24MPP1ZJA01tLo', '15bd75b23adfcc266c8e9eb5b92e1c4c64bf508c677db6f29ac87ea35dade611', 'd2bf073ae2f2b68d014c44440fa8313b758799b8e73b052b36a3872b411c6bf2');
INSERT INTO public.audit_log VALUES (2, 1800000000000, 'session_opened', '{}', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '{"session":"ce3d0caa-6342-481e-b580-86aab7437a93"}', '8kc_kbSIg36cyEfZZwAhiERSru31t3XzakIXdKDuqk4', 'b6a6f07f5f1fe96860b3c3fcba2b897cd714b47596922667a6529a6e18c64339', '0fadcb21d7fe6419a81610b59ee4a63cecb6ef9e89f9d7f82f8041904aace1c5');
INSERT INTO public.audit_log VALUES (3, 1800000000000, 'token_opened', '{"purpose":"revoke"}', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '{"connection":"091b4f1b-bb41-4541-b4b1-a71f205eabb6","workspace":"0b1f0c9e-2222-4a4a-8c8c-000000000002"}', 'VnLS_aDGLWn3DShxH4otwVg960WuQk_gXNgAC8lSshg', '9aa23da6c470217547e577479bf5c1d20e31d671606b389f7488fdc06907d017', '2ac306e82297b7dc2e48eadbdc9b4b6a78eb030b511368e109ebf9412d09406f');
INSERT INTO public.audit_log VALUES (4, 1800000000000, 'workspace_connected', '{}', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '{"connection":"95744d86-b13f-44ca-a0e3-2e752968e00e","workspace":"0b1f0c9e-1111-4a4a-8c8c-000000000001"}', '2bewzVJtnT2lnXjS7YnjEtyzMecr9aqwH22CbBcPMwQ', 'c65629c39f08a31b1f97cd88d3c48184c49aef05d4cbd3ff184cbe093d8da9b1', '532a19426be36643888e3663ca10e5063a8c6e8f28d0e1cac46581648dda8580');
INSERT INTO public.audit_log VALUES (5, 1800000000000, 'session_opened', '{}', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '{"session":"bf73c299-9efe-4d12-b578-3c5f01495e5b"}', 'no2F8tDDgjj2LWrsiqdZlVNywiMBIjFW9XedcwVTpWI', '20832998381c91e8ed5b6deebbe17f204c60947b4b4a355a07ee35e2955d9d73', '7db1b37494ceef7a20e639a105b82ba2a239d776efeda41c0ddd910e41583aea');
INSERT INTO public.broker_instances VALUES ('5fdab808-7700-4885-ba90-894cbfa28ed8', 1800000001000);
INSERT INTO public.broker_state VALUES ('pepper', 'one', '\x0156b26a9ed75a11dec4ba0db5a1831e428b4035f42bbaea12cc50eb90c4afa2d3a70a34ea2b0fdbf0003b63677300c99a05b9b415d34f6e71581bf8b2', '\x018737aedd2f59162a72a234b0c9e3eca179f11c1e5bb94accf5f9378b29de0a9b6d4cbd296c2dc9bbf27ade3a683d8889133a8f51a352574c79ac1adb717c5f6436fe0800ab8aec', 1800000000000);
INSERT INTO public.handoffs VALUES ('17a84b50c1ef31367dd7ff6605950b959ba2839d7b99af02fd37e8d909124cb3', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM', 'Ada''s laptop', 1800000060000, 1800000000000, 'ce3d0caa-6342-481e-b580-86aab7437a93');
INSERT INTO public.handoffs VALUES ('3202b4ef837e18dbbc953d6e574e06c8133bf7af3080e8fddeaa67108d82dec4', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM', 'Ada''s laptop', 1800000060000, 1800000000000, 'bf73c299-9efe-4d12-b578-3c5f01495e5b');
INSERT INTO public.idempotency VALUES ('0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '0b1f0c9e-1111-4a4a-8c8c-000000000001', '0199aaaa-0000-7000-8000-000000000001', 'print', 'done', 'o', 1800000001000, 1800000001000, 200, '["3a1f0c9e-0000-4a4a-8c8c-0000000000bb"]', 1, NULL, 1800086401000);
INSERT INTO public.notion_connections VALUES ('95744d86-b13f-44ca-a0e3-2e752968e00e', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', '0b1f0c9e-1111-4a4a-8c8c-000000000001', 'Lovelace', NULL, 'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001', 'c2f20311-9e54-4d11-8c79-7398424ae41e', 'one', '\x012c2850cdac95f11240d3e4ee78a83de6bc5a6a6ab5d0e6af3db268aa940af5e0c5e9c009d36ee190aec13ee4122dc5eb083c5ae66330eb8f1bc28f4e', '\x01d2b5bd0587c286646e76217e13af104c896600536a7d776bd4ecdc872623a19002516d8aa9ace19349a2acbcd90112', '\x01d6069503972733b0bb79d38067121c4c5092169146e63a98e68b88566c2cfa376fd535e9084b401904250daeafcbf826', 1, 0, NULL, 0, 1800000000000, 1800000000000);
INSERT INTO public.oauth_states VALUES ('31e719d6c715a5587e8286694937afa09e17683e30155a00fb64ed69074da800', '0341c062504fdc59d66f1ad4544a3d3ea7253537f08c8d18e73b264e57032eee', 'daemon-state-1', '7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM', 'Ada''s laptop', 'notion-clipper://auth', 1800000600000);
INSERT INTO public.pending_revocations VALUES ('3d6c2ee9-6d9a-4448-95ab-d436c47beaee', 'one', '\x01ceeeea02acbad4608e83bef079286e99aa2ab89c8f042a4554f4873e0d4bb70281a159bb27dac4087b5a45f5d2a60ea31154d187cf579d873994e7ff', '\x017efea2d3b48783fd89857c9fb0d7c01b5ec60917bc1e0e2f29acd88d5a5ab700fb782148041b0b6c6f274e6dab201c', 1, 1800000030000, 1800000000000);
INSERT INTO public.pending_revocations VALUES ('9ccee507-e135-4361-9293-10ae82bdd0f1', 'one', '\x01cc39f1fa9329f5a85e7f019cfbf3acb4c7970c6ca1d5a796d76b1558797a5ab588dbf4ed4cb8d3b3f4aaefa829156d7dc8e2abbb1cf509d867860f38', '\x015966ddbe89c4b8a7056423c88d0c6dc916025e9c3483af53c27c314cbb14604c9f98939c41e48765b6435378c2c45a51', 1, 1800000030000, 1800000000000);
INSERT INTO public.push_log VALUES (1, 1800000001000, '0b1f0c9e-1111-4a4a-8c8c-000000000001', '3a1f0c9e-0000-4a4a-8c8c-00000000000a', 'content', NULL, 'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001');
INSERT INTO public.push_state VALUES ('log', 1, 0);
INSERT INTO public.refresh_tokens VALUES ('1da8618d93de18414c5c0e107384563425631783afd3b451e875830fb436f3a0', 'ce3d0caa-6342-481e-b580-86aab7437a93', NULL, 1800000000000, 1805184000000, NULL, NULL);
INSERT INTO public.refresh_tokens VALUES ('2c0f9817203e783be0405530ba830e7a97891ac5b545e6adad46f8214477a60c', 'bf73c299-9efe-4d12-b578-3c5f01495e5b', NULL, 1800000000000, 1805184000000, 1800000000000, NULL);
INSERT INTO public.refresh_tokens VALUES ('a987cc75ada898a7bef01d44242db92043ce094a553eef7a4456de9537d23583', 'bf73c299-9efe-4d12-b578-3c5f01495e5b', '2c0f9817203e783be0405530ba830e7a97891ac5b545e6adad46f8214477a60c', 1800000000000, 1805184000000, NULL, NULL);
INSERT INTO public.schema_migrations VALUES ('keycheck/001', 'e12ca71781821069321f4518ec8b66dff992ec057e8833d4b21ced7477a63cba', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('accounts/001', 'ee569772a2b9e51214a8e3cfe399bb2f2610ede8a8136343167e286831f7e4b0', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('accounts/002', '20db531479969cca94d140a49e6ab2dd7b451cf94b46b81a964ac19693dd7243', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('accounts/003', '96bd00bbf5564db473fdcbef2f8e953cc41393213109da4789973aeffa8112d8', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('accounts/004', '37b5d7a0f09fb9f3926fec51c9baddad321492f77e12a9f35327ab8db265ed5b', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('connections/001', '26195e80832487dcbee8214471064c8c819eec1dedd457b77f4f7d617f92f1ed', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('connections/002', '576caa0d159161d657c49d0f8c2e0c26edfb63b13cc8ed186e0c4a7e0feaaaff', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('connections/003', '1fab64c7d8a9cba5e2f1977f00805f5792259566511d5f2225cead424d21fac3', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('sessions/001', 'f4d474862b79ee01533b84e274454bc93648daf815f9cb32b6338a4e92295238', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('sessions/002', '278939ba5747b8146d0ac0bd94fe519a671df766eafe2b3ff278759388f19a69', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('sessions/003', 'e04adfa4da8fb08260238b9751ee2b7e25e78e7d0ff715192b0abee6599461e2', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('sessions/004', '9435978fae0e72b1aecb824c2af8b293e51d960b684e3dc0836abd62330318ad', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('sessions/005', '9efa995445c9b5e974c4672f0627a0c12ebd4cec91d1444524c7b5bc0118cc21', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('signins/001', 'b1504bc3494ad02cc335ef4372ec28ba7e934ec947e103e5a27fc478951a23bd', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('signins/002', 'ffcddc644d81495b1f1e0ddb8cc5b927441ee94e52e7f39a36671356be542e89', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('idempotency/001', 'a41ba53fdb920df189a072671c1d44f5feb83ddd64e1d739bb2dd97c143a5bec', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('idempotency/002', '38fc8155a8c014de513d4af877375113518a99b1577a773dd3bdd7a6f8f25396', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('audit/001', '79c0fdf7008aec0d8c252d5181512c960c514b5b0bc4acd268a310a3241671a7', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('audit/002', '0daf86dc0b10216e6d7f5724d616dc63e3e5c20d47a20a29358827d139b87b1e', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/001', '7f558206e54152d9f834120eb397a01bbd1744279dea4163ec7fb5c31554ba49', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/002', 'e4cc2206733e87932379b84ddf792be934512936b08ae83b9893cef0874a3c63', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/003', '95ef32f77a20bdabae4fc40586cba61eab27dbd6b1881527f770eeef5a1c201e', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/004', 'b0153521204edcd30e2e9ccf08530185743c800d9fa764afa43440da86bf563e', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/005', '4dd856946b1f89934b6dada3a78ee8a44a924a17cc37f84bc13dd9e439371a31', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/006', 'a8e51aa9e369f6714ae34ba3d473b46909aad90214aa3034a5a3ca31c0272d91', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('push/007', 'f465db7ff9231cb7a2c95b92ed075c808cbe37e4eae7ff610d0abd6b9847125e', 1800000000000);
INSERT INTO public.schema_migrations VALUES ('instances/001', 'eb76377e5044d2301f9a7685955d5553d3c030dad1f7991a0992bfa27e1678b9', 1800000000000);
INSERT INTO public.sessions VALUES ('ce3d0caa-6342-481e-b580-86aab7437a93', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'Ada''s laptop', 1800000000000, 1800000000000, 1805184000000, NULL, NULL);
INSERT INTO public.sessions VALUES ('bf73c299-9efe-4d12-b578-3c5f01495e5b', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'Ada''s laptop', 1800000000000, 1800000000000, 1805184000000, NULL, NULL);
INSERT INTO public.subscriptions VALUES ('eb2a0ea3-59c6-4ecb-a523-1cf6f3f1462a', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'FREE', 'active', NULL, NULL, NULL, NULL, 1800000000000, 1800000000000);
INSERT INTO public.user_profiles VALUES ('0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'c2f20311-9e54-4d11-8c79-7398424ae41e', 'ada@example.org', 'Ada', NULL, 'notion', 1800000000000, 1800000000000);
INSERT INTO public.webhook_events VALUES ('event-000003', 1800000000000, 0, '', '', 'content', NULL, NULL);
INSERT INTO public.webhook_events VALUES ('event-000004', 1800000001000, 1, '0b1f0c9e-1111-4a4a-8c8c-000000000001', '3a1f0c9e-0000-4a4a-8c8c-00000000000a', 'properties', NULL, 'bot-of-0b1f0c9e-1111-4a4a-8c8c-000000000001');
INSERT INTO public.workspace_history VALUES ('08e5a8150ca36529467e7af44f51a1e8d478be9b16e5be2c5298bda794c522b6', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'b556ed6b148ea416a19b016314d2e82793e422bf2c83c9cb74c7fc19f79a06c7', 0, NULL, 1800000000000);
INSERT INTO public.workspace_history VALUES ('fc71b80bbbb17f08a8e40d4e42fab0e37c364a5a31b86e98de0d0c76db73c144', '0ae0d961-48b7-4c11-8e55-4ddae48df2a2', 'b556ed6b148ea416a19b016314d2e82793e422bf2c83c9cb74c7fc19f79a06c7', 0, NULL, 1800000000000);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.broker_instances
    ADD CONSTRAINT broker_instances_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.broker_state
    ADD CONSTRAINT broker_state_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.handoffs
    ADD CONSTRAINT handoffs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (user_id, workspace_id, key);
ALTER TABLE ONLY public.notion_connections
    ADD CONSTRAINT notion_connections_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.notion_connections
    ADD CONSTRAINT notion_connections_user_id_workspace_id_key UNIQUE (user_id, workspace_id);
ALTER TABLE ONLY public.oauth_states
    ADD CONSTRAINT oauth_states_pkey PRIMARY KEY (state_hash);
ALTER TABLE ONLY public.pending_revocations
    ADD CONSTRAINT pending_revocations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.push_log
    ADD CONSTRAINT push_log_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.push_state
    ADD CONSTRAINT push_state_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_stripe_customer_id_key UNIQUE (stripe_customer_id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_stripe_subscription_id_key UNIQUE (stripe_subscription_id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_user_id_key UNIQUE (user_id);
ALTER TABLE ONLY public.user_profiles
    ADD CONSTRAINT user_profiles_notion_user_id_key UNIQUE (notion_user_id);
ALTER TABLE ONLY public.user_profiles
    ADD CONSTRAINT user_profiles_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.webhook_events
    ADD CONSTRAINT webhook_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workspace_history
    ADD CONSTRAINT workspace_history_pkey PRIMARY KEY (workspace_hash);
CREATE INDEX audit_log_user ON public.audit_log USING btree (user_id, seq);
CREATE INDEX idempotency_expires ON public.idempotency USING btree (expires_at);
CREATE INDEX oauth_states_expires ON public.oauth_states USING btree (expires_at);
CREATE INDEX pending_revocations_due ON public.pending_revocations USING btree (next_attempt_at);
CREATE INDEX push_log_at ON public.push_log USING btree (at);
CREATE INDEX refresh_tokens_session ON public.refresh_tokens USING btree (session_id);
CREATE INDEX sessions_user ON public.sessions USING btree (user_id);
CREATE INDEX webhook_events_pending ON public.webhook_events USING btree (received_at) WHERE (is_pending = 1);
CREATE INDEX webhook_events_received ON public.webhook_events USING btree (received_at);
CREATE INDEX workspace_history_first_user ON public.workspace_history USING btree (first_user_id);
ALTER TABLE ONLY public.handoffs
    ADD CONSTRAINT handoffs_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.user_profiles(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.notion_connections
    ADD CONSTRAINT notion_connections_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.user_profiles(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.sessions(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.user_profiles(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.user_profiles(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workspace_history
    ADD CONSTRAINT workspace_history_first_user_id_fkey FOREIGN KEY (first_user_id) REFERENCES public.user_profiles(id) ON DELETE SET NULL;


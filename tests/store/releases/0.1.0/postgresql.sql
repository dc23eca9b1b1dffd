SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.acknowledgement (
    consumer character varying(64) NOT NULL,
    message_id character varying(64) NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.attempt (
    id character varying(64) NOT NULL,
    delivery_id character varying(64) NOT NULL,
    rendition_id character varying(64) NOT NULL,
    epoch integer NOT NULL,
    owner character varying(1100) NOT NULL,
    recipients json NOT NULL,
    phase character varying(16) NOT NULL,
    started_at timestamp with time zone NOT NULL,
    dot_intent_at timestamp with time zone,
    ended_at timestamp with time zone,
    outcome character varying(16),
    code integer,
    error_type character varying(64)
);
CREATE TABLE public.batch_item (
    batch_id character varying(64) NOT NULL,
    uid bigint NOT NULL,
    "position" integer NOT NULL,
    message_id character varying(64),
    skipped boolean NOT NULL,
    known boolean NOT NULL
);
CREATE TABLE public.callback_delivery (
    id character varying(64) NOT NULL,
    retrieval_id character varying(64) NOT NULL,
    folder_id character varying(64) NOT NULL,
    consumer character varying(64) NOT NULL,
    number integer NOT NULL,
    state character varying(16) NOT NULL,
    workflow_id character varying(255),
    created_at timestamp with time zone NOT NULL,
    acknowledged_at timestamp with time zone,
    settled_at timestamp with time zone
);
CREATE TABLE public.content (
    key character varying(64) NOT NULL,
    message_id character varying(64),
    kind character varying(16) NOT NULL,
    media_type character varying(255) NOT NULL,
    size integer NOT NULL,
    sha256 character varying(64) NOT NULL,
    data bytea,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.cursor (
    folder_id character varying(64) NOT NULL,
    consumer character varying(64) NOT NULL,
    uid_validity bigint NOT NULL,
    uid_next bigint NOT NULL,
    holes json NOT NULL,
    highest_modseq bigint
);
CREATE TABLE public.delivery (
    id character varying(64) NOT NULL,
    message_id character varying(64) NOT NULL,
    account_id character varying(64) NOT NULL,
    rendition_id character varying(64) NOT NULL,
    envelope_from character varying(320) NOT NULL,
    state character varying(20) NOT NULL,
    epoch integer NOT NULL,
    lease_owner character varying(1100),
    attempts integer NOT NULL,
    next_attempt_at timestamp with time zone
);
CREATE TABLE public.email_account (
    id character varying(64) NOT NULL,
    name character varying(200) NOT NULL,
    settings json NOT NULL,
    outgoing_password bytea,
    incoming_password bytea,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.folder (
    id character varying(64) NOT NULL,
    account_id character varying(64) NOT NULL,
    name character varying(1000) NOT NULL,
    lease_owner character varying(1100),
    lease_epoch integer NOT NULL
);
CREATE TABLE public.location (
    folder_id character varying(64) NOT NULL,
    uid_validity bigint NOT NULL,
    uid bigint NOT NULL,
    message_id character varying(64) NOT NULL,
    handled_at timestamp with time zone
);
CREATE TABLE public.log_entry (
    id integer NOT NULL,
    at timestamp with time zone NOT NULL,
    account_id character varying(64),
    message_id character varying(64),
    event character varying(64) NOT NULL,
    error_type character varying(64),
    detail json NOT NULL
);
CREATE SEQUENCE public.log_entry_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.log_entry_id_seq OWNED BY public.log_entry.id;
CREATE TABLE public.message (
    id character varying(64) NOT NULL,
    account_id character varying(64) NOT NULL,
    direction character varying(16) NOT NULL,
    identity character varying(64) NOT NULL,
    request_hash character varying(64),
    driver character varying(1100),
    status character varying(20) NOT NULL,
    internet_message_id character varying(998),
    in_reply_to character varying(998),
    "references" json,
    subject character varying(2000) NOT NULL,
    sender character varying(1000) NOT NULL,
    "to" json NOT NULL,
    cc json NOT NULL,
    reply_to json,
    date timestamp with time zone,
    size integer NOT NULL,
    attachments integer NOT NULL,
    quarantined character varying(500),
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone
);
CREATE TABLE public.message_part (
    message_id character varying(64) NOT NULL,
    number integer NOT NULL,
    name character varying(4000) NOT NULL,
    media_type character varying(4000) NOT NULL,
    "position" character varying(16) NOT NULL,
    content_id character varying(998),
    size integer NOT NULL
);
CREATE TABLE public.recipient (
    delivery_id character varying(64) NOT NULL,
    number integer NOT NULL,
    address character varying(320) NOT NULL,
    kind character varying(3) NOT NULL,
    state character varying(16) NOT NULL,
    code integer,
    enhanced_code character varying(16),
    reply character varying(1000)
);
CREATE TABLE public.rendition (
    id character varying(64) NOT NULL,
    message_id character varying(64) NOT NULL,
    kind character varying(16) NOT NULL,
    content_key character varying(64) NOT NULL
);
CREATE TABLE public.retrieval (
    id character varying(64) NOT NULL,
    folder_id character varying(64) NOT NULL,
    consumer character varying(64) NOT NULL,
    owner character varying(1100) NOT NULL,
    uid_validity bigint NOT NULL,
    options json NOT NULL,
    uids json NOT NULL,
    total integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);
ALTER TABLE ONLY public.log_entry ALTER COLUMN id SET DEFAULT nextval('public.log_entry_id_seq'::regclass);
INSERT INTO public.acknowledgement VALUES ('default', '26e41655-4d2e-5af3-9cf8-408c5236328e', '2026-11-23 00:07:28.541378+00');
INSERT INTO public.acknowledgement VALUES ('default', '5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', '2026-11-23 00:07:28.541378+00');
INSERT INTO public.acknowledgement VALUES ('default', 'f8b4d3ed-c581-5c08-b623-1de20cffcc08', '2026-11-23 00:07:28.541378+00');
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.attempt VALUES ('attempt-deferred', '81680a11-9c48-5dd3-9883-4767e43f4d1f', '749a0d0b-b4de-5228-8462-181cb4a43cbf', 1, 'worker 1', '[0,1]', 'rcpt', '2026-11-23 00:07:28.345596+00', NULL, '2026-11-23 00:07:28.386265+00', 'not_sent', 451, 'ServerUnavailable');
INSERT INTO public.attempt VALUES ('attempt-sent', '23696a02-dfcb-5b16-bde9-f28c17b7df1e', '7af0fedd-6398-5cb5-b156-47b63fa858ce', 1, 'worker 1', '[0]', 'done', '2026-11-23 00:07:27.862858+00', '2026-11-23 00:07:27.907811+00', '2026-11-23 00:07:27.92989+00', 'sent', 250, NULL);
INSERT INTO public.attempt VALUES ('attempt-unknown', '7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef', 'e516a77b-5ce5-594f-9107-6ba0ac9230c4', 1, 'worker 1', '[0,1]', 'dot_intent', '2026-11-23 00:07:28.21647+00', '2026-11-23 00:07:28.236909+00', '2026-11-23 00:07:28.268092+00', 'unknown', NULL, NULL);
INSERT INTO public.batch_item VALUES ('batch-0', 3, 0, 'f8b4d3ed-c581-5c08-b623-1de20cffcc08', false, false);
INSERT INTO public.batch_item VALUES ('batch-0', 4, 1, '26e41655-4d2e-5af3-9cf8-408c5236328e', false, false);
INSERT INTO public.batch_item VALUES ('batch-0', 7, 2, '5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', false, false);
INSERT INTO public.batch_item VALUES ('batch-1', 8, 0, 'a0cf16fd-009a-5595-a8f5-16c8ee941601', false, false);
INSERT INTO public.callback_delivery VALUES ('batch-0', 'retrieval-1', 'f91e24c3-67cf-540a-b78f-968a0ce1817a', 'default', 0, 'settled', 'callback/0', '2026-11-23 00:07:28.535198+00', '2026-11-23 00:07:28.541378+00', '2026-11-23 00:07:28.601219+00');
INSERT INTO public.callback_delivery VALUES ('batch-1', 'retrieval-1', 'f91e24c3-67cf-540a-b78f-968a0ce1817a', 'default', 1, 'stored', 'callback/1', '2026-11-23 00:07:28.601454+00', NULL, NULL);
INSERT INTO public.content VALUES ('26e41655-4d2e-5af3-9cf8-408c5236328e.html', '26e41655-4d2e-5af3-9cf8-408c5236328e', 'html', 'text/html', 27, '69182096082917a4bbb993ced836e3c73b1929083c7303db5502be450c3a7772', '\x3c703e53656520746865203c623e66696c653c2f623e2e3c2f703e', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('26e41655-4d2e-5af3-9cf8-408c5236328e.raw', '26e41655-4d2e-5af3-9cf8-408c5236328e', 'raw', 'message/rfc822', 956, '128518c047f8cb6632d673fcdc97d3a250f54801933b822c0b73dd4373628019', NULL, '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8.raw', '5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', 'raw', 'message/rfc822', 16, '5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e', '\x6e6f2068656164657220617420616c6c', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8.text', '5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', 'text', 'text/plain', 16, '5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e', '\x6e6f2068656164657220617420616c6c', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('a0cf16fd-009a-5595-a8f5-16c8ee941601.raw', 'a0cf16fd-009a-5595-a8f5-16c8ee941601', 'raw', 'message/rfc822', 63, '437c1b320f807b25937cd6fbd5eb6cb23e645f9f241c5ddaac834d0fe71e22eb', '\x46726f6d3a2062406578616d706c652e6e65740d0a5375626a6563743a2054686972640d0a0d0a53746f7265642c206e6f74207965742074616b656e2e0d0a', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('a0cf16fd-009a-5595-a8f5-16c8ee941601.text', 'a0cf16fd-009a-5595-a8f5-16c8ee941601', 'text', 'text/plain', 22, '57f44bc0a74234e58980bc3c359def5004438128e6253ffdc55dc330dbd814da', '\x53746f7265642c206e6f74207965742074616b656e2e', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('f8b4d3ed-c581-5c08-b623-1de20cffcc08.raw', 'f8b4d3ed-c581-5c08-b623-1de20cffcc08', 'raw', 'message/rfc822', 146, '345ffd5659a370d94405eaf9e6d1fdb1571763101cb2d0a24d81297295f2111f', '\x46726f6d3a203d3f7574662d383f713f4a3d43333d42437267656e3f3d203c6a406578616d706c652e6e65743e0d0a546f3a2073686f70406578616d706c652e6f72670d0a5375626a6563743a203d3f7574662d383f713f47723d43333d42433d43333d3946653f3d0d0a4d6573736167652d49443a203c31406578616d706c652e6e65743e0d0a0d0a48656c6c6f2e0d0a', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('f8b4d3ed-c581-5c08-b623-1de20cffcc08.text', 'f8b4d3ed-c581-5c08-b623-1de20cffcc08', 'text', 'text/plain', 6, '2d8bd7d9bb5f85ba643f0110d50cb506a1fe439e769a22503193ea6046bb87f7', '\x48656c6c6f2e', '2026-11-23 00:07:28.477248+00');
INSERT INTO public.content VALUES ('message-deferred.mail', 'message-deferred', 'mail', 'message/rfc822', 741, '542f4ae7de2965ea814c02f66a5dd528cac5bb21c716f2781828847b201e4acd', NULL, '2026-11-23 00:07:28.29449+00');
INSERT INTO public.content VALUES ('message-queued.mail', 'message-queued', 'mail', 'message/rfc822', 739, '22de492eb88011294f6d67b0d1e4833e74041f4678e7a5cc1248aad7484f0db0', NULL, '2026-11-23 00:07:28.431787+00');
INSERT INTO public.content VALUES ('message-sent.mail', 'message-sent', 'mail', 'message/rfc822', 737, 'be8682404f3295086e7687f3fd387401f87a7907fe7f70a62e182172baa78fca', NULL, '2026-11-23 00:07:27.662267+00');
INSERT INTO public.content VALUES ('message-unknown.mail', 'message-unknown', 'mail', 'message/rfc822', 740, 'd72a555e95ac242a6c9555cd0f96c57e537769318195906bba9168ce10843b38', NULL, '2026-11-23 00:07:27.725261+00');
INSERT INTO public.content VALUES ('upload-1', NULL, 'attachment', 'text/plain', 10, '0b8d274a6eb3690819bd53147c0d0d40a0f5ca110cda9440bfbf79f6a4265a97', '\x746f2062652073656e74', '2026-11-23 00:07:28.642014+00');
INSERT INTO public.cursor VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 'default', 9, 8, '[[1,2],[5,6]]', NULL);
INSERT INTO public.delivery VALUES ('23696a02-dfcb-5b16-bde9-f28c17b7df1e', 'message-sent', 'account-shop', '7af0fedd-6398-5cb5-b156-47b63fa858ce', 'shop@example.org', 'partially_sent', 2, '', 1, NULL);
INSERT INTO public.delivery VALUES ('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef', 'message-unknown', 'account-shop', 'e516a77b-5ce5-594f-9107-6ba0ac9230c4', 'shop@example.org', 'unknown', 2, 'worker 2', 1, NULL);
INSERT INTO public.delivery VALUES ('81680a11-9c48-5dd3-9883-4767e43f4d1f', 'message-deferred', 'account-shop', '749a0d0b-b4de-5228-8462-181cb4a43cbf', 'shop@example.org', 'queued', 1, 'worker 1', 1, NULL);
INSERT INTO public.delivery VALUES ('cdb74785-d128-5c5a-8c57-89a3daee3dbe', 'message-queued', 'account-shop', 'f507ff0c-72c0-5c52-8b59-8670d48c9383', 'shop@example.org', 'queued', 0, NULL, 0, NULL);
INSERT INTO public.email_account VALUES ('account-relay', 'relay', '{"name":"relay","email_address":"robot@example.org","full_name":"","outgoing":{"host":"relay.example.org","port":587,"security":"none","login":"none","username":null,"check_server_identity":true,"connection_timeout_ms":20000},"incoming":null,"retrieval":{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"none","move_folder":null,"render_inline_images":false,"sanitize":true,"subscribe":false},"unknown_policy":"verify","max_send_attempts":null,"give_up_after_seconds":432000}', NULL, NULL, '2026-11-23 00:07:27.607856+00', '2026-11-23 00:07:27.607856+00');
INSERT INTO public.email_account VALUES ('account-shop', 'Shöp', '{"name":"Shöp","email_address":"shop@example.org","full_name":"The Shop","outgoing":{"host":"smtp.example.org","port":587,"security":"starttls","login":"basic","username":"shop","check_server_identity":true,"connection_timeout_ms":20000},"incoming":{"host":"imap.example.org","port":993,"security":"tls","login":"basic","username":"shop","check_server_identity":true,"connection_timeout_ms":20000,"protocol":"imaps"},"retrieval":{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"none","move_folder":null,"render_inline_images":false,"sanitize":true,"subscribe":false},"unknown_policy":"verify","max_send_attempts":null,"give_up_after_seconds":432000}', '\x674141414141427241344f5f435a5376337843526c33623076726858585856387767445555726d6b324b6c41507154663975636a6f32455278344c6172645f654a30695572324c4238645f3439584c647050576347455247373363473355613534413d3d', '\x674141414141427241344f5f48414d6453306a6d39596a61314638416c467353584a577754576757784b434a4336356234315742525334787367786474596548734e345632355a617645634371487565305849536e797a4279394c6f656b67614a673d3d', '2026-11-23 00:07:27.513697+00', '2026-11-23 00:07:27.513697+00');
INSERT INTO public.folder VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 'account-shop', 'INBOX/Größe', 'retrieve/shop run', 0);
INSERT INTO public.location VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 9, 3, 'f8b4d3ed-c581-5c08-b623-1de20cffcc08', '2026-11-23 00:07:28.575367+00');
INSERT INTO public.location VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 9, 4, '26e41655-4d2e-5af3-9cf8-408c5236328e', '2026-11-23 00:07:28.575367+00');
INSERT INTO public.location VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 9, 7, '5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', NULL);
INSERT INTO public.location VALUES ('f91e24c3-67cf-540a-b78f-968a0ce1817a', 9, 8, 'a0cf16fd-009a-5595-a8f5-16c8ee941601', NULL);
INSERT INTO public.log_entry VALUES (1, '2026-11-23 00:07:27.607215+00', 'account-shop', NULL, 'account_added', NULL, '{}');
INSERT INTO public.log_entry VALUES (2, '2026-11-23 00:07:27.617415+00', 'account-relay', NULL, 'account_added', NULL, '{}');
INSERT INTO public.log_entry VALUES (3, '2026-11-23 00:07:27.707129+00', 'account-shop', 'message-sent', 'message_composed', NULL, '{"size":737}');
INSERT INTO public.log_entry VALUES (4, '2026-11-23 00:07:27.744003+00', 'account-shop', 'message-unknown', 'message_composed', NULL, '{"size":740}');
INSERT INTO public.log_entry VALUES (5, '2026-11-23 00:07:27.867553+00', 'account-shop', 'message-sent', 'attempt_started', NULL, '{"attempt":1,"epoch":1}');
INSERT INTO public.log_entry VALUES (6, '2026-11-23 00:07:27.930018+00', 'account-shop', 'message-sent', 'attempt_ended', NULL, '{"outcome":"sent","phase":"done","code":250,"epoch":1}');
INSERT INTO public.log_entry VALUES (7, '2026-11-23 00:07:28.208092+00', 'account-shop', 'message-sent', 'message_settled', NULL, '{"status":"partially_sent"}');
INSERT INTO public.log_entry VALUES (8, '2026-11-23 00:07:28.217324+00', 'account-shop', 'message-unknown', 'attempt_started', NULL, '{"attempt":1,"epoch":1}');
INSERT INTO public.log_entry VALUES (9, '2026-11-23 00:07:28.2708+00', 'account-shop', 'message-unknown', 'attempt_lost', NULL, '{"outcome":"unknown","phase":"dot_intent","epoch":1}');
INSERT INTO public.log_entry VALUES (10, '2026-11-23 00:07:28.315588+00', 'account-shop', 'message-deferred', 'message_composed', NULL, '{"size":741}');
INSERT INTO public.log_entry VALUES (11, '2026-11-23 00:07:28.346569+00', 'account-shop', 'message-deferred', 'attempt_started', NULL, '{"attempt":1,"epoch":1}');
INSERT INTO public.log_entry VALUES (12, '2026-11-23 00:07:28.386341+00', 'account-shop', 'message-deferred', 'attempt_ended', 'ServerUnavailable', '{"outcome":"not_sent","phase":"rcpt","code":451,"epoch":1}');
INSERT INTO public.log_entry VALUES (13, '2026-11-23 00:07:28.458879+00', 'account-shop', 'message-queued', 'message_composed', NULL, '{"size":739}');
INSERT INTO public.log_entry VALUES (14, '2026-11-23 00:07:28.573317+00', 'account-shop', NULL, 'batch_acknowledged', NULL, '{"batch":"batch-0","mails":3}');
INSERT INTO public.log_entry VALUES (15, '2026-11-23 00:07:28.601277+00', 'account-shop', NULL, 'batch_settled', NULL, '{"batch":"batch-0"}');
INSERT INTO public.message VALUES ('26e41655-4d2e-5af3-9cf8-408c5236328e', 'account-shop', 'incoming', '128518c047f8cb6632d673fcdc97d3a250f54801933b822c0b73dd4373628019', NULL, NULL, 'received', '<2@example.net>', NULL, '[]', 'Files', 'a@example.net', '["shop@example.org"]', '[]', '[]', '2026-02-03 04:05:06+00', 956, 1, NULL, '2026-11-23 00:07:28.49908+00', NULL);
INSERT INTO public.message VALUES ('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8', 'account-shop', 'incoming', '5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e', NULL, NULL, 'received', NULL, NULL, '[]', '', '', '[]', '[]', '[]', '2026-02-03 04:05:06+00', 16, 0, NULL, '2026-11-23 00:07:28.49908+00', NULL);
INSERT INTO public.message VALUES ('a0cf16fd-009a-5595-a8f5-16c8ee941601', 'account-shop', 'incoming', '437c1b320f807b25937cd6fbd5eb6cb23e645f9f241c5ddaac834d0fe71e22eb', NULL, NULL, 'received', NULL, NULL, '[]', 'Third', 'b@example.net', '[]', '[]', '[]', '2026-02-03 04:05:06+00', 63, 0, NULL, '2026-11-23 00:07:28.49908+00', NULL);
INSERT INTO public.message VALUES ('f8b4d3ed-c581-5c08-b623-1de20cffcc08', 'account-shop', 'incoming', '345ffd5659a370d94405eaf9e6d1fdb1571763101cb2d0a24d81297295f2111f', NULL, NULL, 'received', '<1@example.net>', NULL, '[]', 'Grüße', 'Jürgen <j@example.net>', '["shop@example.org"]', '[]', '[]', '2026-02-03 04:05:06+00', 146, 0, NULL, '2026-11-23 00:07:28.49908+00', NULL);
INSERT INTO public.message VALUES ('message-deferred', 'account-shop', 'outgoing', 'message-deferred', 'c4cb149d7531605ba05962973b1951cbfc8be8bf29103e76dcbfebe5bb36f980', 'send/deferred run', 'queued', '<deferred@example.org>', NULL, NULL, 'deferred', 'The Shop <shop@example.org>', '["Ann <ann@example.net>"]', '[]', NULL, '2026-02-03 04:05:06+00', 741, 0, NULL, '2026-11-23 00:07:28.301809+00', NULL);
INSERT INTO public.message VALUES ('message-queued', 'account-shop', 'outgoing', '7550dcd388de26e893343b9f13830dcb4ee3ef856dceafa939bb786f4e39e93a', '8a43ebbf7795d53ae888ceb79f2937c58cb6686da4dfeb0b8d118a7585773c5f', 'send/queued run', 'queued', '<queued@example.org>', NULL, NULL, 'queued', 'The Shop <shop@example.org>', '["Ann <ann@example.net>"]', '[]', NULL, '2026-02-03 04:05:06+00', 739, 0, NULL, '2026-11-23 00:07:28.442959+00', NULL);
INSERT INTO public.message VALUES ('message-sent', 'account-shop', 'outgoing', 'message-sent', 'ec2fd2b836561e8e9c70d6cba1206a304a723aafffb0032b695462c5b1dc5767', 'send/sent run', 'partially_sent', '<sent@example.org>', NULL, NULL, 'sent', 'The Shop <shop@example.org>', '["Ann <ann@example.net>"]', '[]', NULL, '2026-02-03 04:05:06+00', 737, 0, NULL, '2026-11-23 00:07:27.671264+00', '2026-11-23 00:07:28.207417+00');
INSERT INTO public.message VALUES ('message-unknown', 'account-shop', 'outgoing', 'message-unknown', '259c8308fab4ed277f163dc1f60ea7e578c9523e0b6b131ea96d8b5912d6e068', 'send/unknown run', 'unknown', '<unknown@example.org>', NULL, NULL, 'unknown', 'The Shop <shop@example.org>', '["Ann <ann@example.net>"]', '[]', NULL, '2026-02-03 04:05:06+00', 740, 0, NULL, '2026-11-23 00:07:27.735165+00', NULL);
INSERT INTO public.message_part VALUES ('26e41655-4d2e-5af3-9cf8-408c5236328e', 0, 'invoice.pdf', 'application/pdf', 'normal', NULL, 660);
INSERT INTO public.recipient VALUES ('23696a02-dfcb-5b16-bde9-f28c17b7df1e', 0, 'ann@example.net', 'to', 'sent', 250, '2.0.0', 'ok');
INSERT INTO public.recipient VALUES ('23696a02-dfcb-5b16-bde9-f28c17b7df1e', 1, 'b@example.net', 'bcc', 'failed', 550, '5.1.1', 'no such user');
INSERT INTO public.recipient VALUES ('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef', 0, 'ann@example.net', 'to', 'unknown', NULL, NULL, NULL);
INSERT INTO public.recipient VALUES ('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef', 1, 'b@example.net', 'bcc', 'unknown', NULL, NULL, NULL);
INSERT INTO public.recipient VALUES ('81680a11-9c48-5dd3-9883-4767e43f4d1f', 0, 'ann@example.net', 'to', 'deferred', 451, '4.7.1', 'later');
INSERT INTO public.recipient VALUES ('81680a11-9c48-5dd3-9883-4767e43f4d1f', 1, 'b@example.net', 'bcc', 'deferred', 451, '4.7.1', 'later');
INSERT INTO public.recipient VALUES ('cdb74785-d128-5c5a-8c57-89a3daee3dbe', 0, 'ann@example.net', 'to', 'pending', NULL, NULL, NULL);
INSERT INTO public.recipient VALUES ('cdb74785-d128-5c5a-8c57-89a3daee3dbe', 1, 'b@example.net', 'bcc', 'pending', NULL, NULL, NULL);
INSERT INTO public.rendition VALUES ('749a0d0b-b4de-5228-8462-181cb4a43cbf', 'message-deferred', 'mail', 'message-deferred.mail');
INSERT INTO public.rendition VALUES ('7af0fedd-6398-5cb5-b156-47b63fa858ce', 'message-sent', 'mail', 'message-sent.mail');
INSERT INTO public.rendition VALUES ('e516a77b-5ce5-594f-9107-6ba0ac9230c4', 'message-unknown', 'mail', 'message-unknown.mail');
INSERT INTO public.rendition VALUES ('f507ff0c-72c0-5c52-8b59-8670d48c9383', 'message-queued', 'mail', 'message-queued.mail');
INSERT INTO public.retrieval VALUES ('retrieval-1', 'f91e24c3-67cf-540a-b78f-968a0ce1817a', 'default', 'retrieve/shop run', 9, '{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"move","move_folder":"Done","render_inline_images":false,"sanitize":true,"subscribe":false}', '[[3,4],[7,8]]', 4, '2026-11-23 00:07:28.521421+00', NULL);
SELECT pg_catalog.setval('public.log_entry_id_seq', 15, true);
ALTER TABLE ONLY public.acknowledgement
    ADD CONSTRAINT acknowledgement_pkey PRIMARY KEY (consumer, message_id);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.batch_item
    ADD CONSTRAINT batch_item_pkey PRIMARY KEY (batch_id, uid);
ALTER TABLE ONLY public.callback_delivery
    ADD CONSTRAINT callback_delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.content
    ADD CONSTRAINT content_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (folder_id, consumer);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.email_account
    ADD CONSTRAINT email_account_name_key UNIQUE (name);
ALTER TABLE ONLY public.email_account
    ADD CONSTRAINT email_account_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.folder
    ADD CONSTRAINT folder_account_id_name_key UNIQUE (account_id, name);
ALTER TABLE ONLY public.folder
    ADD CONSTRAINT folder_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.location
    ADD CONSTRAINT location_pkey PRIMARY KEY (folder_id, uid_validity, uid);
ALTER TABLE ONLY public.log_entry
    ADD CONSTRAINT log_entry_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_account_id_direction_identity_key UNIQUE (account_id, direction, identity);
ALTER TABLE ONLY public.message_part
    ADD CONSTRAINT message_part_pkey PRIMARY KEY (message_id, number);
ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.recipient
    ADD CONSTRAINT recipient_pkey PRIMARY KEY (delivery_id, number);
ALTER TABLE ONLY public.rendition
    ADD CONSTRAINT rendition_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.retrieval
    ADD CONSTRAINT retrieval_pkey PRIMARY KEY (id);
CREATE INDEX ix_attempt_delivery_id ON public.attempt USING btree (delivery_id);
CREATE INDEX ix_callback_delivery_folder_id ON public.callback_delivery USING btree (folder_id);
CREATE INDEX ix_callback_delivery_retrieval_id ON public.callback_delivery USING btree (retrieval_id);
CREATE INDEX ix_callback_delivery_state ON public.callback_delivery USING btree (state);
CREATE INDEX ix_content_message_id ON public.content USING btree (message_id);
CREATE INDEX ix_delivery_account_id ON public.delivery USING btree (account_id);
CREATE INDEX ix_delivery_message_id ON public.delivery USING btree (message_id);
CREATE INDEX ix_delivery_next_attempt_at ON public.delivery USING btree (next_attempt_at);
CREATE INDEX ix_delivery_state ON public.delivery USING btree (state);
CREATE INDEX ix_folder_account_id ON public.folder USING btree (account_id);
CREATE INDEX ix_location_message ON public.location USING btree (message_id);
CREATE INDEX ix_log_entry_account_id ON public.log_entry USING btree (account_id);
CREATE INDEX ix_log_entry_at ON public.log_entry USING btree (at);
CREATE INDEX ix_log_entry_event ON public.log_entry USING btree (event);
CREATE INDEX ix_log_entry_message_id ON public.log_entry USING btree (message_id);
CREATE INDEX ix_message_account_id ON public.message USING btree (account_id);
CREATE INDEX ix_message_created_at ON public.message USING btree (created_at);
CREATE INDEX ix_message_internet_id ON public.message USING btree (account_id, internet_message_id);
CREATE INDEX ix_message_status ON public.message USING btree (status);
CREATE INDEX ix_rendition_message_id ON public.rendition USING btree (message_id);
CREATE INDEX ix_retrieval_folder_id ON public.retrieval USING btree (folder_id);
ALTER TABLE ONLY public.acknowledgement
    ADD CONSTRAINT acknowledgement_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_rendition_id_fkey FOREIGN KEY (rendition_id) REFERENCES public.rendition(id);
ALTER TABLE ONLY public.batch_item
    ADD CONSTRAINT batch_item_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.callback_delivery(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.callback_delivery
    ADD CONSTRAINT callback_delivery_folder_id_fkey FOREIGN KEY (folder_id) REFERENCES public.folder(id);
ALTER TABLE ONLY public.callback_delivery
    ADD CONSTRAINT callback_delivery_retrieval_id_fkey FOREIGN KEY (retrieval_id) REFERENCES public.retrieval(id);
ALTER TABLE ONLY public.cursor
    ADD CONSTRAINT cursor_folder_id_fkey FOREIGN KEY (folder_id) REFERENCES public.folder(id);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.email_account(id);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_rendition_id_fkey FOREIGN KEY (rendition_id) REFERENCES public.rendition(id);
ALTER TABLE ONLY public.folder
    ADD CONSTRAINT folder_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.email_account(id);
ALTER TABLE ONLY public.location
    ADD CONSTRAINT location_folder_id_fkey FOREIGN KEY (folder_id) REFERENCES public.folder(id);
ALTER TABLE ONLY public.location
    ADD CONSTRAINT location_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);
ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.email_account(id);
ALTER TABLE ONLY public.message_part
    ADD CONSTRAINT message_part_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.recipient
    ADD CONSTRAINT recipient_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.rendition
    ADD CONSTRAINT rendition_content_key_fkey FOREIGN KEY (content_key) REFERENCES public.content(key);
ALTER TABLE ONLY public.rendition
    ADD CONSTRAINT rendition_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retrieval
    ADD CONSTRAINT retrieval_folder_id_fkey FOREIGN KEY (folder_id) REFERENCES public.folder(id);

BEGIN TRANSACTION;
CREATE TABLE acknowledgement (
	consumer VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (consumer, message_id), 
	FOREIGN KEY(message_id) REFERENCES message (id) ON DELETE CASCADE
);
INSERT INTO "acknowledgement" VALUES('default','26e41655-4d2e-5af3-9cf8-408c5236328e','2026-11-23 00:07:28.541378');
INSERT INTO "acknowledgement" VALUES('default','5d419032-76ee-5cb4-a1cb-b0a0d055f4c8','2026-11-23 00:07:28.541378');
INSERT INTO "acknowledgement" VALUES('default','f8b4d3ed-c581-5c08-b623-1de20cffcc08','2026-11-23 00:07:28.541378');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempt (
	id VARCHAR(64) NOT NULL, 
	delivery_id VARCHAR(64) NOT NULL, 
	rendition_id VARCHAR(64) NOT NULL, 
	epoch INTEGER NOT NULL, 
	owner VARCHAR(1100) NOT NULL, 
	recipients JSON NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	started_at DATETIME NOT NULL, 
	dot_intent_at DATETIME, 
	ended_at DATETIME, 
	outcome VARCHAR(16), 
	code INTEGER, 
	error_type VARCHAR(64), 
	PRIMARY KEY (id), 
	FOREIGN KEY(delivery_id) REFERENCES delivery (id) ON DELETE CASCADE, 
	FOREIGN KEY(rendition_id) REFERENCES rendition (id)
);
INSERT INTO "attempt" VALUES('attempt-sent','23696a02-dfcb-5b16-bde9-f28c17b7df1e','7af0fedd-6398-5cb5-b156-47b63fa858ce',1,'worker 1','[0]','done','2026-11-23 00:07:27.862858','2026-11-23 00:07:27.907811','2026-11-23 00:07:27.929890','sent',250,NULL);
INSERT INTO "attempt" VALUES('attempt-unknown','7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef','e516a77b-5ce5-594f-9107-6ba0ac9230c4',1,'worker 1','[0,1]','dot_intent','2026-11-23 00:07:28.216470','2026-11-23 00:07:28.236909','2026-11-23 00:07:28.268092','unknown',NULL,NULL);
INSERT INTO "attempt" VALUES('attempt-deferred','81680a11-9c48-5dd3-9883-4767e43f4d1f','749a0d0b-b4de-5228-8462-181cb4a43cbf',1,'worker 1','[0,1]','rcpt','2026-11-23 00:07:28.345596',NULL,'2026-11-23 00:07:28.386265','not_sent',451,'ServerUnavailable');
CREATE TABLE batch_item (
	batch_id VARCHAR(64) NOT NULL, 
	uid BIGINT NOT NULL, 
	position INTEGER NOT NULL, 
	message_id VARCHAR(64), 
	skipped BOOLEAN NOT NULL, 
	known BOOLEAN NOT NULL, 
	PRIMARY KEY (batch_id, uid), 
	FOREIGN KEY(batch_id) REFERENCES callback_delivery (id) ON DELETE CASCADE
);
INSERT INTO "batch_item" VALUES('batch-0',3,0,'f8b4d3ed-c581-5c08-b623-1de20cffcc08',0,0);
INSERT INTO "batch_item" VALUES('batch-0',4,1,'26e41655-4d2e-5af3-9cf8-408c5236328e',0,0);
INSERT INTO "batch_item" VALUES('batch-0',7,2,'5d419032-76ee-5cb4-a1cb-b0a0d055f4c8',0,0);
INSERT INTO "batch_item" VALUES('batch-1',8,0,'a0cf16fd-009a-5595-a8f5-16c8ee941601',0,0);
CREATE TABLE callback_delivery (
	id VARCHAR(64) NOT NULL, 
	retrieval_id VARCHAR(64) NOT NULL, 
	folder_id VARCHAR(64) NOT NULL, 
	consumer VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	workflow_id VARCHAR(255), 
	created_at DATETIME NOT NULL, 
	acknowledged_at DATETIME, 
	settled_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(folder_id) REFERENCES folder (id), 
	FOREIGN KEY(retrieval_id) REFERENCES retrieval (id)
);
INSERT INTO "callback_delivery" VALUES('batch-0','retrieval-1','f91e24c3-67cf-540a-b78f-968a0ce1817a','default',0,'settled','callback/0','2026-11-23 00:07:28.535198','2026-11-23 00:07:28.541378','2026-11-23 00:07:28.601219');
INSERT INTO "callback_delivery" VALUES('batch-1','retrieval-1','f91e24c3-67cf-540a-b78f-968a0ce1817a','default',1,'stored','callback/1','2026-11-23 00:07:28.601454',NULL,NULL);
CREATE TABLE content (
	"key" VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64), 
	kind VARCHAR(16) NOT NULL, 
	media_type VARCHAR(255) NOT NULL, 
	size INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	data BLOB, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "content" VALUES('message-sent.mail','message-sent','mail','message/rfc822',737,'be8682404f3295086e7687f3fd387401f87a7907fe7f70a62e182172baa78fca',NULL,'2026-11-23 00:07:27.662267');
INSERT INTO "content" VALUES('message-unknown.mail','message-unknown','mail','message/rfc822',740,'d72a555e95ac242a6c9555cd0f96c57e537769318195906bba9168ce10843b38',NULL,'2026-11-23 00:07:27.725261');
INSERT INTO "content" VALUES('message-deferred.mail','message-deferred','mail','message/rfc822',741,'542f4ae7de2965ea814c02f66a5dd528cac5bb21c716f2781828847b201e4acd',NULL,'2026-11-23 00:07:28.294490');
INSERT INTO "content" VALUES('message-queued.mail','message-queued','mail','message/rfc822',739,'22de492eb88011294f6d67b0d1e4833e74041f4678e7a5cc1248aad7484f0db0',NULL,'2026-11-23 00:07:28.431787');
INSERT INTO "content" VALUES('f8b4d3ed-c581-5c08-b623-1de20cffcc08.raw','f8b4d3ed-c581-5c08-b623-1de20cffcc08','raw','message/rfc822',146,'345ffd5659a370d94405eaf9e6d1fdb1571763101cb2d0a24d81297295f2111f',X'46726F6D3A203D3F7574662D383F713F4A3D43333D42437267656E3F3D203C6A406578616D706C652E6E65743E0D0A546F3A2073686F70406578616D706C652E6F72670D0A5375626A6563743A203D3F7574662D383F713F47723D43333D42433D43333D3946653F3D0D0A4D6573736167652D49443A203C31406578616D706C652E6E65743E0D0A0D0A48656C6C6F2E0D0A','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('f8b4d3ed-c581-5c08-b623-1de20cffcc08.text','f8b4d3ed-c581-5c08-b623-1de20cffcc08','text','text/plain',6,'2d8bd7d9bb5f85ba643f0110d50cb506a1fe439e769a22503193ea6046bb87f7',X'48656C6C6F2E','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('26e41655-4d2e-5af3-9cf8-408c5236328e.raw','26e41655-4d2e-5af3-9cf8-408c5236328e','raw','message/rfc822',956,'128518c047f8cb6632d673fcdc97d3a250f54801933b822c0b73dd4373628019',NULL,'2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('26e41655-4d2e-5af3-9cf8-408c5236328e.html','26e41655-4d2e-5af3-9cf8-408c5236328e','html','text/html',27,'69182096082917a4bbb993ced836e3c73b1929083c7303db5502be450c3a7772',X'3C703E53656520746865203C623E66696C653C2F623E2E3C2F703E','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8.raw','5d419032-76ee-5cb4-a1cb-b0a0d055f4c8','raw','message/rfc822',16,'5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e',X'6E6F2068656164657220617420616C6C','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8.text','5d419032-76ee-5cb4-a1cb-b0a0d055f4c8','text','text/plain',16,'5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e',X'6E6F2068656164657220617420616C6C','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('a0cf16fd-009a-5595-a8f5-16c8ee941601.raw','a0cf16fd-009a-5595-a8f5-16c8ee941601','raw','message/rfc822',63,'437c1b320f807b25937cd6fbd5eb6cb23e645f9f241c5ddaac834d0fe71e22eb',X'46726F6D3A2062406578616D706C652E6E65740D0A5375626A6563743A2054686972640D0A0D0A53746F7265642C206E6F74207965742074616B656E2E0D0A','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('a0cf16fd-009a-5595-a8f5-16c8ee941601.text','a0cf16fd-009a-5595-a8f5-16c8ee941601','text','text/plain',22,'57f44bc0a74234e58980bc3c359def5004438128e6253ffdc55dc330dbd814da',X'53746F7265642C206E6F74207965742074616B656E2E','2026-11-23 00:07:28.477248');
INSERT INTO "content" VALUES('upload-1',NULL,'attachment','text/plain',10,'0b8d274a6eb3690819bd53147c0d0d40a0f5ca110cda9440bfbf79f6a4265a97',X'746F2062652073656E74','2026-11-23 00:07:28.642014');
CREATE TABLE cursor (
	folder_id VARCHAR(64) NOT NULL, 
	consumer VARCHAR(64) NOT NULL, 
	uid_validity BIGINT NOT NULL, 
	uid_next BIGINT NOT NULL, 
	holes JSON NOT NULL, 
	highest_modseq BIGINT, 
	PRIMARY KEY (folder_id, consumer), 
	FOREIGN KEY(folder_id) REFERENCES folder (id)
);
INSERT INTO "cursor" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a','default',9,8,'[[1,2],[5,6]]',NULL);
CREATE TABLE delivery (
	id VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	rendition_id VARCHAR(64) NOT NULL, 
	envelope_from VARCHAR(320) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	epoch INTEGER NOT NULL, 
	lease_owner VARCHAR(1100), 
	attempts INTEGER NOT NULL, 
	next_attempt_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES email_account (id), 
	FOREIGN KEY(message_id) REFERENCES message (id) ON DELETE CASCADE, 
	FOREIGN KEY(rendition_id) REFERENCES rendition (id)
);
INSERT INTO "delivery" VALUES('23696a02-dfcb-5b16-bde9-f28c17b7df1e','message-sent','account-shop','7af0fedd-6398-5cb5-b156-47b63fa858ce','shop@example.org','partially_sent',2,'',1,NULL);
INSERT INTO "delivery" VALUES('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef','message-unknown','account-shop','e516a77b-5ce5-594f-9107-6ba0ac9230c4','shop@example.org','unknown',2,'worker 2',1,NULL);
INSERT INTO "delivery" VALUES('81680a11-9c48-5dd3-9883-4767e43f4d1f','message-deferred','account-shop','749a0d0b-b4de-5228-8462-181cb4a43cbf','shop@example.org','queued',1,'worker 1',1,NULL);
INSERT INTO "delivery" VALUES('cdb74785-d128-5c5a-8c57-89a3daee3dbe','message-queued','account-shop','f507ff0c-72c0-5c52-8b59-8670d48c9383','shop@example.org','queued',0,NULL,0,NULL);
CREATE TABLE email_account (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	settings JSON NOT NULL, 
	outgoing_password BLOB, 
	incoming_password BLOB, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "email_account" VALUES('account-shop','Shöp','{"name":"Shöp","email_address":"shop@example.org","full_name":"The Shop","outgoing":{"host":"smtp.example.org","port":587,"security":"starttls","login":"basic","username":"shop","check_server_identity":true,"connection_timeout_ms":20000},"incoming":{"host":"imap.example.org","port":993,"security":"tls","login":"basic","username":"shop","check_server_identity":true,"connection_timeout_ms":20000,"protocol":"imaps"},"retrieval":{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"none","move_folder":null,"render_inline_images":false,"sanitize":true,"subscribe":false},"unknown_policy":"verify","max_send_attempts":null,"give_up_after_seconds":432000}',X'674141414141427241344F5F435A5376337843526C33623076726858585856387767445555726D6B324B6C41507154663975636A6F32455278344C6172645F654A30695572324C4238645F3439584C647050576347455247373363473355613534413D3D',X'674141414141427241344F5F48414D6453306A6D39596A61314638416C467353584A577754576757784B434A4336356234315742525334787367786474596548734E345632355A617645634371487565305849536E797A4279394C6F656B67614A673D3D','2026-11-23 00:07:27.513697','2026-11-23 00:07:27.513697');
INSERT INTO "email_account" VALUES('account-relay','relay','{"name":"relay","email_address":"robot@example.org","full_name":"","outgoing":{"host":"relay.example.org","port":587,"security":"none","login":"none","username":null,"check_server_identity":true,"connection_timeout_ms":20000},"incoming":null,"retrieval":{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"none","move_folder":null,"render_inline_images":false,"sanitize":true,"subscribe":false},"unknown_policy":"verify","max_send_attempts":null,"give_up_after_seconds":432000}',NULL,NULL,'2026-11-23 00:07:27.607856','2026-11-23 00:07:27.607856');
CREATE TABLE folder (
	id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	name VARCHAR(1000) NOT NULL, 
	lease_owner VARCHAR(1100), 
	lease_epoch INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES email_account (id), 
	UNIQUE (account_id, name)
);
INSERT INTO "folder" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a','account-shop','INBOX/Größe','retrieve/shop run',0);
CREATE TABLE location (
	folder_id VARCHAR(64) NOT NULL, 
	uid_validity BIGINT NOT NULL, 
	uid BIGINT NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	handled_at DATETIME, 
	PRIMARY KEY (folder_id, uid_validity, uid), 
	FOREIGN KEY(folder_id) REFERENCES folder (id), 
	FOREIGN KEY(message_id) REFERENCES message (id)
);
INSERT INTO "location" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a',9,3,'f8b4d3ed-c581-5c08-b623-1de20cffcc08','2026-11-23 00:07:28.575367');
INSERT INTO "location" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a',9,4,'26e41655-4d2e-5af3-9cf8-408c5236328e','2026-11-23 00:07:28.575367');
INSERT INTO "location" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a',9,7,'5d419032-76ee-5cb4-a1cb-b0a0d055f4c8',NULL);
INSERT INTO "location" VALUES('f91e24c3-67cf-540a-b78f-968a0ce1817a',9,8,'a0cf16fd-009a-5595-a8f5-16c8ee941601',NULL);
CREATE TABLE log_entry (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	account_id VARCHAR(64), 
	message_id VARCHAR(64), 
	event VARCHAR(64) NOT NULL, 
	error_type VARCHAR(64), 
	detail JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "log_entry" VALUES(1,'2026-11-23 00:07:27.607215','account-shop',NULL,'account_added',NULL,'{}');
INSERT INTO "log_entry" VALUES(2,'2026-11-23 00:07:27.617415','account-relay',NULL,'account_added',NULL,'{}');
INSERT INTO "log_entry" VALUES(3,'2026-11-23 00:07:27.707129','account-shop','message-sent','message_composed',NULL,'{"size":737}');
INSERT INTO "log_entry" VALUES(4,'2026-11-23 00:07:27.744003','account-shop','message-unknown','message_composed',NULL,'{"size":740}');
INSERT INTO "log_entry" VALUES(5,'2026-11-23 00:07:27.867553','account-shop','message-sent','attempt_started',NULL,'{"attempt":1,"epoch":1}');
INSERT INTO "log_entry" VALUES(6,'2026-11-23 00:07:27.930018','account-shop','message-sent','attempt_ended',NULL,'{"outcome":"sent","phase":"done","code":250,"epoch":1}');
INSERT INTO "log_entry" VALUES(7,'2026-11-23 00:07:28.208092','account-shop','message-sent','message_settled',NULL,'{"status":"partially_sent"}');
INSERT INTO "log_entry" VALUES(8,'2026-11-23 00:07:28.217324','account-shop','message-unknown','attempt_started',NULL,'{"attempt":1,"epoch":1}');
INSERT INTO "log_entry" VALUES(9,'2026-11-23 00:07:28.270800','account-shop','message-unknown','attempt_lost',NULL,'{"outcome":"unknown","phase":"dot_intent","epoch":1}');
INSERT INTO "log_entry" VALUES(10,'2026-11-23 00:07:28.315588','account-shop','message-deferred','message_composed',NULL,'{"size":741}');
INSERT INTO "log_entry" VALUES(11,'2026-11-23 00:07:28.346569','account-shop','message-deferred','attempt_started',NULL,'{"attempt":1,"epoch":1}');
INSERT INTO "log_entry" VALUES(12,'2026-11-23 00:07:28.386341','account-shop','message-deferred','attempt_ended','ServerUnavailable','{"outcome":"not_sent","phase":"rcpt","code":451,"epoch":1}');
INSERT INTO "log_entry" VALUES(13,'2026-11-23 00:07:28.458879','account-shop','message-queued','message_composed',NULL,'{"size":739}');
INSERT INTO "log_entry" VALUES(14,'2026-11-23 00:07:28.573317','account-shop',NULL,'batch_acknowledged',NULL,'{"batch":"batch-0","mails":3}');
INSERT INTO "log_entry" VALUES(15,'2026-11-23 00:07:28.601277','account-shop',NULL,'batch_settled',NULL,'{"batch":"batch-0"}');
CREATE TABLE message (
	id VARCHAR(64) NOT NULL, 
	account_id VARCHAR(64) NOT NULL, 
	direction VARCHAR(16) NOT NULL, 
	identity VARCHAR(64) NOT NULL, 
	request_hash VARCHAR(64), 
	driver VARCHAR(1100), 
	status VARCHAR(20) NOT NULL, 
	internet_message_id VARCHAR(998), 
	in_reply_to VARCHAR(998), 
	"references" JSON, 
	subject VARCHAR(2000) NOT NULL, 
	sender VARCHAR(1000) NOT NULL, 
	"to" JSON NOT NULL, 
	cc JSON NOT NULL, 
	reply_to JSON, 
	date DATETIME, 
	size INTEGER NOT NULL, 
	attachments INTEGER NOT NULL, 
	quarantined VARCHAR(500), 
	created_at DATETIME NOT NULL, 
	sent_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES email_account (id), 
	UNIQUE (account_id, direction, identity)
);
INSERT INTO "message" VALUES('message-sent','account-shop','outgoing','message-sent','ec2fd2b836561e8e9c70d6cba1206a304a723aafffb0032b695462c5b1dc5767','send/sent run','partially_sent','<sent@example.org>',NULL,NULL,'sent','The Shop <shop@example.org>','["Ann <ann@example.net>"]','[]',NULL,'2026-02-03 04:05:06.000000',737,0,NULL,'2026-11-23 00:07:27.671264','2026-11-23 00:07:28.207417');
INSERT INTO "message" VALUES('message-unknown','account-shop','outgoing','message-unknown','259c8308fab4ed277f163dc1f60ea7e578c9523e0b6b131ea96d8b5912d6e068','send/unknown run','unknown','<unknown@example.org>',NULL,NULL,'unknown','The Shop <shop@example.org>','["Ann <ann@example.net>"]','[]',NULL,'2026-02-03 04:05:06.000000',740,0,NULL,'2026-11-23 00:07:27.735165',NULL);
INSERT INTO "message" VALUES('message-deferred','account-shop','outgoing','message-deferred','c4cb149d7531605ba05962973b1951cbfc8be8bf29103e76dcbfebe5bb36f980','send/deferred run','queued','<deferred@example.org>',NULL,NULL,'deferred','The Shop <shop@example.org>','["Ann <ann@example.net>"]','[]',NULL,'2026-02-03 04:05:06.000000',741,0,NULL,'2026-11-23 00:07:28.301809',NULL);
INSERT INTO "message" VALUES('message-queued','account-shop','outgoing','7550dcd388de26e893343b9f13830dcb4ee3ef856dceafa939bb786f4e39e93a','8a43ebbf7795d53ae888ceb79f2937c58cb6686da4dfeb0b8d118a7585773c5f','send/queued run','queued','<queued@example.org>',NULL,NULL,'queued','The Shop <shop@example.org>','["Ann <ann@example.net>"]','[]',NULL,'2026-02-03 04:05:06.000000',739,0,NULL,'2026-11-23 00:07:28.442959',NULL);
INSERT INTO "message" VALUES('f8b4d3ed-c581-5c08-b623-1de20cffcc08','account-shop','incoming','345ffd5659a370d94405eaf9e6d1fdb1571763101cb2d0a24d81297295f2111f',NULL,NULL,'received','<1@example.net>',NULL,'[]','Grüße','Jürgen <j@example.net>','["shop@example.org"]','[]','[]','2026-02-03 04:05:06.000000',146,0,NULL,'2026-11-23 00:07:28.499080',NULL);
INSERT INTO "message" VALUES('26e41655-4d2e-5af3-9cf8-408c5236328e','account-shop','incoming','128518c047f8cb6632d673fcdc97d3a250f54801933b822c0b73dd4373628019',NULL,NULL,'received','<2@example.net>',NULL,'[]','Files','a@example.net','["shop@example.org"]','[]','[]','2026-02-03 04:05:06.000000',956,1,NULL,'2026-11-23 00:07:28.499080',NULL);
INSERT INTO "message" VALUES('5d419032-76ee-5cb4-a1cb-b0a0d055f4c8','account-shop','incoming','5fe30cbe4874eff214379d317d16d67c17f25f5ab7f766c8038fadf7e729848e',NULL,NULL,'received',NULL,NULL,'[]','','','[]','[]','[]','2026-02-03 04:05:06.000000',16,0,NULL,'2026-11-23 00:07:28.499080',NULL);
INSERT INTO "message" VALUES('a0cf16fd-009a-5595-a8f5-16c8ee941601','account-shop','incoming','437c1b320f807b25937cd6fbd5eb6cb23e645f9f241c5ddaac834d0fe71e22eb',NULL,NULL,'received',NULL,NULL,'[]','Third','b@example.net','[]','[]','[]','2026-02-03 04:05:06.000000',63,0,NULL,'2026-11-23 00:07:28.499080',NULL);
CREATE TABLE message_part (
	message_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	name VARCHAR(4000) NOT NULL, 
	media_type VARCHAR(4000) NOT NULL, 
	position VARCHAR(16) NOT NULL, 
	content_id VARCHAR(998), 
	size INTEGER NOT NULL, 
	PRIMARY KEY (message_id, number), 
	FOREIGN KEY(message_id) REFERENCES message (id) ON DELETE CASCADE
);
INSERT INTO "message_part" VALUES('26e41655-4d2e-5af3-9cf8-408c5236328e',0,'invoice.pdf','application/pdf','normal',NULL,660);
CREATE TABLE recipient (
	delivery_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	address VARCHAR(320) NOT NULL, 
	kind VARCHAR(3) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	code INTEGER, 
	enhanced_code VARCHAR(16), 
	reply VARCHAR(1000), 
	PRIMARY KEY (delivery_id, number), 
	FOREIGN KEY(delivery_id) REFERENCES delivery (id) ON DELETE CASCADE
);
INSERT INTO "recipient" VALUES('23696a02-dfcb-5b16-bde9-f28c17b7df1e',0,'ann@example.net','to','sent',250,'2.0.0','ok');
INSERT INTO "recipient" VALUES('23696a02-dfcb-5b16-bde9-f28c17b7df1e',1,'b@example.net','bcc','failed',550,'5.1.1','no such user');
INSERT INTO "recipient" VALUES('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef',0,'ann@example.net','to','unknown',NULL,NULL,NULL);
INSERT INTO "recipient" VALUES('7e2334d6-d1f4-5ebb-bd5f-8cbee903cbef',1,'b@example.net','bcc','unknown',NULL,NULL,NULL);
INSERT INTO "recipient" VALUES('81680a11-9c48-5dd3-9883-4767e43f4d1f',0,'ann@example.net','to','deferred',451,'4.7.1','later');
INSERT INTO "recipient" VALUES('81680a11-9c48-5dd3-9883-4767e43f4d1f',1,'b@example.net','bcc','deferred',451,'4.7.1','later');
INSERT INTO "recipient" VALUES('cdb74785-d128-5c5a-8c57-89a3daee3dbe',0,'ann@example.net','to','pending',NULL,NULL,NULL);
INSERT INTO "recipient" VALUES('cdb74785-d128-5c5a-8c57-89a3daee3dbe',1,'b@example.net','bcc','pending',NULL,NULL,NULL);
CREATE TABLE rendition (
	id VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	content_key VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(content_key) REFERENCES content ("key"), 
	FOREIGN KEY(message_id) REFERENCES message (id) ON DELETE CASCADE
);
INSERT INTO "rendition" VALUES('7af0fedd-6398-5cb5-b156-47b63fa858ce','message-sent','mail','message-sent.mail');
INSERT INTO "rendition" VALUES('e516a77b-5ce5-594f-9107-6ba0ac9230c4','message-unknown','mail','message-unknown.mail');
INSERT INTO "rendition" VALUES('749a0d0b-b4de-5228-8462-181cb4a43cbf','message-deferred','mail','message-deferred.mail');
INSERT INTO "rendition" VALUES('f507ff0c-72c0-5c52-8b59-8670d48c9383','message-queued','mail','message-queued.mail');
CREATE TABLE retrieval (
	id VARCHAR(64) NOT NULL, 
	folder_id VARCHAR(64) NOT NULL, 
	consumer VARCHAR(64) NOT NULL, 
	owner VARCHAR(1100) NOT NULL, 
	uid_validity BIGINT NOT NULL, 
	options JSON NOT NULL, 
	uids JSON NOT NULL, 
	total INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(folder_id) REFERENCES folder (id)
);
INSERT INTO "retrieval" VALUES('retrieval-1','f91e24c3-67cf-540a-b78f-968a0ce1817a','default','retrieve/shop run',9,'{"folder":"INBOX","number_of_emails":50,"fetch_strategy":"latest","replicate_everything":false,"batch_size":100,"handling":"move","move_folder":"Done","render_inline_images":false,"sanitize":true,"subscribe":false}','[[3,4],[7,8]]',4,'2026-11-23 00:07:28.521421',NULL);
CREATE INDEX ix_content_message_id ON content (message_id);
CREATE INDEX ix_log_entry_account_id ON log_entry (account_id);
CREATE INDEX ix_log_entry_at ON log_entry (at);
CREATE INDEX ix_log_entry_event ON log_entry (event);
CREATE INDEX ix_log_entry_message_id ON log_entry (message_id);
CREATE INDEX ix_folder_account_id ON folder (account_id);
CREATE INDEX ix_message_account_id ON message (account_id);
CREATE INDEX ix_message_created_at ON message (created_at);
CREATE INDEX ix_message_internet_id ON message (account_id, internet_message_id);
CREATE INDEX ix_message_status ON message (status);
CREATE INDEX ix_location_message ON location (message_id);
CREATE INDEX ix_rendition_message_id ON rendition (message_id);
CREATE INDEX ix_retrieval_folder_id ON retrieval (folder_id);
CREATE INDEX ix_callback_delivery_folder_id ON callback_delivery (folder_id);
CREATE INDEX ix_callback_delivery_retrieval_id ON callback_delivery (retrieval_id);
CREATE INDEX ix_callback_delivery_state ON callback_delivery (state);
CREATE INDEX ix_delivery_account_id ON delivery (account_id);
CREATE INDEX ix_delivery_message_id ON delivery (message_id);
CREATE INDEX ix_delivery_next_attempt_at ON delivery (next_attempt_at);
CREATE INDEX ix_delivery_state ON delivery (state);
CREATE INDEX ix_attempt_delivery_id ON attempt (delivery_id);
COMMIT;

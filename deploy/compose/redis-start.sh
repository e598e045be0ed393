#!/bin/sh
# Start Redis with the users of users.acl. The password comes from the environment, and only its
# hash is written, to a folder in memory.
set -eu
: "${REDIS_PASSWORD:?REDIS_PASSWORD is empty; make an .env with deploy/compose/make-env}"
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
sed -e '/^#/d' -e "s/HASH/$hash/" /etc/stoker/users.acl >/run/redis/users.acl
unset REDIS_PASSWORD
exec redis-server /etc/stoker/redis.conf --aclfile /run/redis/users.acl

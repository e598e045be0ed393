-- put_keys: API keys are made, revoked, used; log-ins that ran out are deleted.
-- KEYS  [1] the namespace; read and written: keys, logins, events.
-- ARGV  [1] now, [2] msgpack [actor, keys as [id, name, login_of, spec, expires_in], ids to revoke,
--         ids that were used]
-- Gives the ids that were made or revoked.
-- Moves none.
--
-- A record is [spec, name, login_of, created_at, expires_at, last_used_at, revoked_at].

local function key_record(id)
  local packed = redis.call('HGET', W.p .. K.KEYRING, id)
  return packed and cmsgpack.unpack(packed)
end

local function write_key(id, record)
  redis.call('HSET', W.p .. K.KEYRING, id, cmsgpack.pack(record))
end

local function forget_logins(ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', W.p .. K.KEYRING, id)
    redis.call('ZREM', W.p .. K.LOGINS, id)
  end
end

local function make_key(spec, actor)
  local id, name, login_of, text, life = spec[1], spec[2], spec[3], spec[4], spec[5]
  if redis.call('HEXISTS', W.p .. K.KEYRING, id) == 1 then return false end
  local expires = life and W.now + life
  write_key(id, {text, name, login_of, W.now, expires, false, false})
  if login_of then
    redis.call('ZADD', W.p .. K.LOGINS, expires and text_of(expires) or '+inf', id)
  end
  local kind = login_of and N.LOGGED_IN or N.KEY_CREATED
  log(kind, actor, nil, nil, nil, {key = login_of or id, name = name})
  return true
end

local function logins_of(key)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', W.p .. K.LOGINS, 0, -1)) do
    local record = key_record(id)
    if record and record[3] == key then found[#found + 1] = id end
  end
  return found
end

local function revoke_key(id, actor)
  local record = key_record(id)
  if not record or record[7] then return false end
  if record[3] then
    forget_logins({id})
    log(N.LOGGED_OUT, actor, nil, nil, nil, {key = record[3], name = record[2]})
    return true
  end
  record[7] = W.now
  write_key(id, record)
  forget_logins(logins_of(id))
  log(N.KEY_REVOKED, actor, nil, nil, nil, {key = id, name = record[2]})
  return true
end

local function put_keys(keys, args)
  local ask = begin(keys, args)
  local actor, specs, revoke, used, done = ask[1], ask[2], ask[3], ask[4], {}
  forget_logins(redis.call('ZRANGE', W.p .. K.LOGINS, '-inf', text_of(W.now), 'BYSCORE'))
  for _, spec in ipairs(specs) do
    if make_key(spec, actor) then done[#done + 1] = spec[1] end
  end
  for _, id in ipairs(revoke) do
    if revoke_key(id, actor) then done[#done + 1] = id end
  end
  for _, id in ipairs(used) do
    local record = key_record(id)
    if record then
      record[6] = W.now
      write_key(id, record)
    end
  end
  close()
  return done
end

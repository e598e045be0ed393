-- beat: keeps a session alive, and takes its report on the jobs it holds.
-- set_session: asks sessions to drain or stop.   list_sessions: shows them.
-- KEYS  [1] the namespace; read and written: sessions, alive, gone, held:*, logs:*, seqs, and by
--       `flush` the rest.
-- ARGV  beat: [1] now, [2] msgpack [id, name, state, spec as JSON, ttl, held, details of joining]
--         A held job is [id, epoch, nonce, ran_for, progress, note, lines].
--       set_session: [1] now, [2] msgpack [ids, command, actor]
--       list_sessions: [1] now, [2] msgpack [ended ones, too]
-- Gives beat: msgpack [alive, ids called off, ids lost, command]
-- Moves start, release, and lose with what follows.

local function read_session(id)
  local packed = redis.call('HGET', W.p .. K.SESSIONS, id)
  return packed and cmsgpack.unpack(packed)
end

local function write_session(id, s)
  redis.call('HSET', W.p .. K.SESSIONS, id, cmsgpack.pack(s))
  if not s[Z.ENDED_AT] then
    redis.call('ZADD', W.p .. K.ALIVE, s[Z.EXPIRES_AT], id)
  end
end

-- Marks a session as ended; its jobs are taken back by whoever calls.
local function end_session(id, s, state)
  s[Z.STATE], s[Z.ENDED_AT] = state, W.now
  write_session(id, s)
  redis.call('ZREM', W.p .. K.ALIVE, id)
  redis.call('ZADD', W.p .. K.GONE, W.now, id)
  redis.call('HDEL', W.p .. K.NONCES, id)
end

local function hear(session, told)
  local k = W.kof[told[1]]
  local r = k and W.jobs[k]
  if not r or r[F.SESSION] ~= session or r[F.EPOCH] ~= told[2] or r[F.NONCE] ~= told[3] then
    return nil
  end
  if told[4] then
    if not r[F.STARTED_AT] then
      r[F.STARTED_AT] = W.now - told[4]
      touch(k)
    end
    if r[F.STATE] == S.ASSIGNED then move(k, E.START) end
  end
  report(k, told[5], told[6], told[7])
  return k
end

-- Takes back leases whose answer never arrived: nobody ever held those jobs.
local function take_undelivered(session, named, before, actor)
  local unnamed = {}
  for _, k in ipairs(redis.call('SMEMBERS', W.p .. K.HELD .. session)) do
    if not named[k] then unnamed[#unnamed + 1] = k end
  end
  fetch(unnamed)
  for _, k in ipairs(unnamed) do
    local r = W.jobs[k]
    if r[F.SESSION] and r[F.LEASED_AT] < before then
      r[F.ATTEMPT] = r[F.ATTEMPT] - 1
      finish(k, O.RELEASED, actor)
    end
  end
end

local function beat(keys, args)
  local ask = begin(keys, args)
  local id, name, state, spec, ttl, held = ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
  local actor, s, lost, cancel = 'worker:' .. name, read_session(id), {}, {}
  if s and s[Z.ENDED_AT] then
    for i = 1, #held do lost[i] = held[i][1] end
    return cmsgpack.pack({state == 'left' and s[Z.STATE] == 'left', cancel, lost, false})
  end
  if not s then
    s = {next_seq('session', 1), name, 'alive', spec, W.now, W.now, W.now, false, false}
    log(N.WORKER_JOINED, actor, nil, nil, name, ask[7])
  end
  local ids, named = {}, {}
  for i = 1, #held do ids[i] = held[i][1] end
  local ks = places_of(ids)
  for i = 1, #ks do
    if ks[i] then named[ks[i]] = true end
  end
  fetch(ks)
  for i = 1, #held do
    local k = hear(id, held[i])
    if not k then
      lost[#lost + 1] = held[i][1]
    elseif W.jobs[k][F.CANCEL_REQUESTED] then
      cancel[#cancel + 1] = held[i][1]
    end
  end
  take_undelivered(id, named, math.min(s[Z.SEEN_AT], W.now - ttl * X.CONFIRM_SHARE), actor)
  local before = s[Z.STATE]
  s[Z.NAME], s[Z.STATE], s[Z.SPEC] = name, state, spec
  s[Z.SEEN_AT], s[Z.EXPIRES_AT] = W.now, W.now + ttl
  if state == 'draining' and before ~= 'draining' then
    log(N.WORKER_DRAINING, actor, nil, nil, name, {session = id})
  end
  if state == 'left' then
    flush()
    end_session(id, s, 'left')
    local left = redis.call('SMEMBERS', W.p .. K.HELD .. id)
    fetch(left)
    for i = 1, #left do lose(left[i], actor) end
    log(N.WORKER_LEFT, actor, nil, nil, name, {session = id})
  else
    write_session(id, s)
  end
  close()
  return cmsgpack.pack({true, cancel, lost, s[Z.COMMAND]})
end

local function set_session(keys, args)
  local ask = begin(keys, args)
  local told, seen = {}, {}
  for _, id in ipairs(ask[1]) do
    local s = not seen[id] and read_session(id)
    seen[id] = true
    if s and not s[Z.ENDED_AT] then
      s[Z.COMMAND] = ask[2]
      write_session(id, s)
      log(N.WORKER_COMMANDED, ask[3], nil, nil, s[Z.NAME], {session = id, command = ask[2]})
      told[#told + 1] = id
    end
  end
  close()
  return told
end

local function list_sessions(keys, args)
  local ask = begin(keys, args)
  local found, rows = redis.call('HGETALL', W.p .. K.SESSIONS), {}
  for i = 1, #found, 2 do
    local s = cmsgpack.unpack(found[i + 1])
    local ended = s[Z.ENDED_AT]
    if not ended or (ask[1] and W.now - ended <= X.SESSION_KEEP) then
      rows[#rows + 1] = found[i]
      rows[#rows + 1] = found[i + 1]
      rows[#rows + 1] = redis.call('SCARD', W.p .. K.HELD .. found[i])
    end
  end
  return rows
end

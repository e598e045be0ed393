-- put_schedules, fire, lead, resign, set_queue, record: schedules, leaders, settings, the trail.
-- KEYS  [1] the namespace; read and written: schedules, terms, elected, queues, events, and for
--       `fire` what `submit` writes.
-- ARGV  put_schedules: [1] now, [2] msgpack [actor, schedules as [name, core, paused, next_at],
--         names to remove]
--       fire: [1] now, [2] msgpack [actor, firings as [name, at, expect, next_at, manual, job]]
--       lead: [1] now, [2] msgpack [name, holder, ttl]
--       resign: [1] now, [2] msgpack [name, holder, elected_at]
--       set_queue: [1] now, [2] msgpack [name, paused, limit, actor, details of the limit]
--       record: [1] now, [2] msgpack of events as [kind, actor, job, queue, worker, details]
-- Gives put_schedules: names. fire: an answer as of submit for each, 0 without a job, nil if it
--       was not obeyed. lead: elected_at and expires_at. set_queue: the queue's row and tallies.
-- Moves none: a firing makes a job.

local function put_schedule(spec, actor)
  local name, core, paused, next_at = spec[1], spec[2], spec[3], spec[4] or false
  local packed = redis.call('HGET', W.p .. K.SCHEDULES, name)
  local known = packed and cmsgpack.unpack(packed)
  local s = known or {core, paused, next_at, false, false, 0, W.now, W.now}
  local changed = not known or known[1] ~= core or known[3] ~= next_at
  if changed then log(N.SCHEDULE_PUT, actor, nil, nil, nil, {name = name}) end
  if known and known[2] ~= paused then
    log(paused and N.SCHEDULE_PAUSED or N.SCHEDULE_RESUMED, actor, nil, nil, nil, {name = name})
  end
  s[1], s[2], s[3], s[8] = core, paused, next_at, W.now
  redis.call('HSET', W.p .. K.SCHEDULES, name, cmsgpack.pack(s))
end

local function put_schedules(keys, args)
  local ask = begin(keys, args)
  local actor, specs, remove, names = ask[1], ask[2], ask[3], {}
  for _, spec in ipairs(specs) do
    if redis.call('HEXISTS', W.p .. K.SCHEDULES, spec[1]) == 0 then names[#names + 1] = spec[1] end
  end
  for _, spec in ipairs(specs) do put_schedule(spec, actor) end
  local missing = {}
  for _, name in ipairs(remove) do
    if redis.call('HEXISTS', W.p .. K.SCHEDULES, name) == 0 then missing[#missing + 1] = name end
  end
  for _, name in ipairs(remove) do
    if redis.call('HDEL', W.p .. K.SCHEDULES, name) == 1 then
      log(N.SCHEDULE_REMOVED, actor, nil, nil, nil, {name = name})
    end
  end
  for _, name in ipairs(missing) do names[#names + 1] = name end
  close()
  return names
end

-- Obeys one firing, if the schedule still stands where the caller saw it.
local function fire_one(batch, firing, actor)
  local name, at, expect, next_at, manual, spec =
    firing[1], firing[2], firing[3] or false, firing[4] or false, firing[5], firing[6]
  local packed = redis.call('HGET', W.p .. K.SCHEDULES, name)
  local s = packed and cmsgpack.unpack(packed)
  if not s then return false end
  if not manual then
    if s[2] or s[3] ~= expect then return false end
    s[3] = next_at
  end
  local answer = 0
  if spec then
    answer = accept(batch, spec)
    local state, id = answer, spec[J.ID]
    if type(answer) == 'table' and type(answer[1]) == 'number' then id = answer[2] end
    s[4], s[5], s[6] = at, id, s[6] + 1
    log(N.SCHEDULE_FIRED, actor, W.kof[id] or nil, nil, nil, {name = name, at = at})
  end
  redis.call('HSET', W.p .. K.SCHEDULES, name, cmsgpack.pack(s))
  return answer
end

local function fire(keys, args)
  local ask = begin(keys, args)
  local actor, firings, specs, answers = ask[1], ask[2], {}, {}
  for _, firing in ipairs(firings) do
    if firing[6] then specs[#specs + 1] = firing[6] end
  end
  look_up(specs)
  local batch = new_batch()
  batch.most = #specs
  for i, firing in ipairs(firings) do answers[i] = fire_one(batch, firing, actor) end
  write_batch(batch)
  close()
  return cmsgpack.pack(answers)
end

local function write_term(name, holder, elected, expires)
  redis.call('HSET', W.p .. K.TERMS, name, cmsgpack.pack({holder, elected, expires}))
  return {string.format('%.17g', elected), string.format('%.17g', expires)}
end

local function lead(keys, args)
  local ask = begin(keys, args)
  local name, holder, expires = ask[1], ask[2], W.now + ask[3]
  local packed = redis.call('HGET', W.p .. K.TERMS, name)
  local present = packed and cmsgpack.unpack(packed)
  if present and present[3] > W.now then
    if present[1] ~= holder then return {} end
    return write_term(name, holder, present[2], expires)
  end
  local last = tonumber(redis.call('HGET', W.p .. K.ELECTED, name) or 0)
  local elected = math.max(W.now, last + X.TICK)
  redis.call('HSET', W.p .. K.ELECTED, name, string.format('%.17g', elected))
  local term = write_term(name, holder, elected, expires)
  log(N.KEEPER_ELECTED, 'keeper:' .. holder, nil, nil, nil, {name = name, holder = holder})
  close()
  return term
end

local function resign(keys, args)
  local ask = begin(keys, args)
  local packed = redis.call('HGET', W.p .. K.TERMS, ask[1])
  local present = packed and cmsgpack.unpack(packed)
  if not present or present[1] ~= ask[2] or present[2] ~= ask[3] then return 0 end
  redis.call('HDEL', W.p .. K.TERMS, ask[1])
  log(N.KEEPER_RESIGNED, 'keeper:' .. ask[2], nil, nil, nil, {name = ask[1], holder = ask[2]})
  close()
  return 1
end

local function set_queue(keys, args)
  local ask = begin(keys, args)
  local name, paused, limit, actor, details = ask[1], ask[2], ask[3], ask[4], ask[5]
  local set = settings_of({name})[1] or {false, false}
  if paused ~= nil and paused ~= set[1] then
    set[1] = paused
    log(paused and N.QUEUE_PAUSED or N.QUEUE_RESUMED, actor, nil, name)
  end
  if limit ~= nil then
    limit = limit > 0 and limit
    if limit ~= set[2] then
      set[2] = limit
      log(N.QUEUE_LIMITED, actor, nil, name, nil, details)
    end
  end
  local packed = cmsgpack.pack(set)
  redis.call('HSET', W.p .. K.QUEUES, name, packed)
  W.rung[name] = true
  close()
  return {queue_rows({name}, {packed}), redis.call('HGETALL', W.p .. K.TALLIES)}
end

local function record(keys, args)
  for _, event in ipairs(begin(keys, args)) do
    W.events[#W.events + 1] = {
      W.now, event[1], event[2], event[3] or false, event[4] or false, event[5] or false,
      event[6] or false,
    }
  end
  close()
  return redis.status_reply('OK')
end

-- exchange: promotes what is due, settles what is done, leases what comes next.
-- KEYS  [1] the namespace; read: sessions, nonces, ids, tries, queues, tallies, ready:*, held:*,
--       specs, results, parents; written: nonces, results, tries, and by `flush` the rest.
-- ARGV  [1] now, [2] msgpack [session, settlements, [queue, most] pairs, want, nonce, aged, ids]
--       A settlement is an array as `B` names its parts.
-- Gives [how each was settled, one digit each; numbers of the leases; their specs; their parents],
--       or the state of a session that may not work.
-- Moves due, lease, and those of an attempt's end with what follows in a workflow.

local SETTLED, REPEATED, LEASE_LOST = '0', '1', '2'

local function was_obeyed(k, r, told)
  local epoch = told[B.EPOCH]
  if epoch == r[F.EPOCH] then
    return r[F.NONCE] == told[B.NONCE] and r[F.OUTCOME] == told[B.OUTCOME]
  end
  local packed = redis.call('HGET', W.p .. K.TRIES, k .. ':' .. epoch)
  if not packed then return false end
  local try = cmsgpack.unpack(packed)
  return try[A.NONCE] == told[B.NONCE] and try[A.OUTCOME] == told[B.OUTCOME]
end

local function settle(k, told, actor)
  local r = k and job(k)
  if not r then return LEASE_LOST end
  -- The fence is compared in the function that writes, or two workers could both end the job.
  if not (r[F.SESSION] and r[F.EPOCH] == told[B.EPOCH] and r[F.NONCE] == told[B.NONCE]) then
    return was_obeyed(k, r, told) and REPEATED or LEASE_LOST
  end
  local outcome = told[B.OUTCOME]
  if outcome == O.COMPLETED then
    -- A small result lives in the record; a large one beside it, or each move would copy it.
    r[F.RESULT] = told[B.RESULT] or told[B.LARGE_RESULT] and true or false
    if told[B.LARGE_RESULT] then
      W.results[#W.results + 1] = k
      W.results[#W.results + 1] = told[B.LARGE_RESULT]
    end
  elseif outcome == O.FAILED or outcome == O.CRASHED then
    local counter = outcome == O.FAILED and F.FAILED or F.LOST
    put(r, counter, (r[counter] or 0) + 1)
    put(r, F.ERROR, told[B.ERROR])
    put(r, F.ERROR_CODE, told[B.ERROR_CODE])
  elseif outcome == O.SNOOZED or outcome == O.RELEASED then
    r[F.ATTEMPT] = r[F.ATTEMPT] - 1
  end
  report(k, told[B.PROGRESS], told[B.NOTE], told[B.LOGS])
  finish(k, outcome, actor, nil, told[B.ERROR], told[B.RETRY_IN], told[B.RAN_FOR])
  return SETTLED
end

local function settle_all(settlements, actor)
  if #settlements == 0 then return '' end
  W.results = {}
  local ids = {}
  for i = 1, #settlements do ids[i] = settlements[i][B.ID] end
  local ks = places_of(ids)
  fetch(ks)
  local answers = {}
  for i = 1, #settlements do answers[i] = settle(ks[i], settlements[i], actor) end
  if #W.results > 0 then in_parts('HSET', W.p .. K.RESULTS, W.results) end
  flush()
  return table.concat(answers)
end

-- Keeps the attempt before, and begins a new one.
local function begin_try(k, r, session, worker, nonce)
  if r[F.TRY_ATTEMPT] then
    local try = {}
    for i = F.FIRST_OF_TRY, F.LAST_OF_TRY do try[#try + 1] = r[i] or false end
    W.tries[#W.tries + 1] = k .. ':' .. r[F.EPOCH]
    W.tries[#W.tries + 1] = cmsgpack.pack(try)
  end
  r[F.ATTEMPT], r[F.EPOCH] = r[F.ATTEMPT] + 1, r[F.EPOCH] + 1
  local timeout = head(r)[H.TIMEOUT]
  -- In the order of the fields, so that the record has no holes.
  r[F.SESSION] = session
  r[F.TRY_ATTEMPT], r[F.TRY_EPOCH] = r[F.ATTEMPT], r[F.EPOCH]
  r[F.NONCE] = nonce
  r[F.WORKER] = worker
  r[F.TRY_DUE_AT] = r[F.DUE_AT]
  r[F.LEASED_AT] = W.now
  r[F.STARTED_AT] = false
  r[F.ENDED_AT] = false
  r[F.OUTCOME] = false
  r[F.TRY_ERROR] = false
  r[F.FINISHED_AT] = false
  r[F.RESULT] = false
  r[F.DEADLINE_AT] = timeout and W.now + timeout or false
end

local function take(taker, k, r)
  local queue = head(r)[H.QUEUE]
  begin_try(k, r, taker.session, taker.worker, taker.nonce)
  move(k, E.LEASE)
  taker.room[queue] = taker.room[queue] - 1
  taker.taken[#taker.taken + 1] = k
end

local function may_take(taker, r)
  return r and r[F.STATE] == S.QUEUED and not has_expired(r)
    and (taker.room[head(r)[H.QUEUE]] or 0) > 0
end

local function take_named(taker, ids)
  local ks = places_of(ids)
  fetch(ks)
  for i = 1, #ks do
    local r = ks[i] and W.jobs[ks[i]]
    if #taker.taken < taker.want and may_take(taker, r) then take(taker, ks[i], r) end
  end
end

local function by_age(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[2] < b[2]
end

local function take_oldest(taker, most)
  if most <= 0 then return end
  local heads, ks, lists = {}, {}, 0
  for _, queue in ipairs(taker.queues) do
    for rank = 0, (taker.room[queue] or 0) > 0 and 2 or -1 do
      local found = redis.call('ZRANGE', W.p .. K.READY .. rank .. ':' .. queue, 0,
        most + X.PASSED_OVER, 'WITHSCORES')
      for i = 1, #found, 2 do
        heads[#heads + 1] = {tonumber(found[i + 1]), found[i]}
        ks[#ks + 1] = found[i]
      end
      if #found > 0 then lists = lists + 1 end
    end
  end
  if lists > 1 then table.sort(heads, by_age) end
  fetch(ks)
  for i = 1, #heads do
    if most == 0 then return end
    local k = heads[i][2]
    local r = W.jobs[k]
    if may_take(taker, r) then
      take(taker, k, r)
      most = most - 1
    end
  end
end

local function take_best(taker, queue)
  for rank = 0, 2 do
    local key, from = W.p .. K.READY .. rank .. ':' .. queue, 0
    while from < X.LOOKS do
      local most = math.min(taker.want - #taker.taken, taker.room[queue])
      if most <= 0 then return end
      local ks = redis.call('ZRANGE', key, from, from + most - 1)
      fetch(ks)
      for i = 1, #ks do
        local r = W.jobs[ks[i]]
        if may_take(taker, r) then take(taker, ks[i], r) end
      end
      -- What was taken leaves the set only with the flush.
      from = from + #ks
      if #ks < most then break end
    end
  end
end

local function measure_room(taker, queues)
  local names = {}
  for i = 1, #queues do names[i] = queues[i][1] end
  local settings = settings_of(names)
  for i = 1, #queues do
    local name, set = names[i], settings[i]
    if set and not set[1] then
      local room = queues[i][2]
      if set[2] then room = math.min(room, set[2] - leased_of(name)) end
      taker.room[name] = room
      taker.queues[#taker.queues + 1] = name
    end
  end
end

local function held_under(session, nonce)
  local ks = redis.call('SMEMBERS', W.p .. K.HELD .. session)
  table.sort(ks)
  fetch(ks)
  local held = {}
  for i = 1, #ks do
    if W.jobs[ks[i]][F.NONCE] == nonce then held[#held + 1] = ks[i] end
  end
  return held
end

-- Remembers in which blocks a worker had jobs: it is asked for, and most workers had few.
local function note_worker(worker, ks)
  local blocks, seen, key = {}, {}, 'worker:' .. worker
  for i = 1, #ks do
    local block = string.format('%d', block_of(ks[i]))
    if not seen[block] then
      seen[block] = true
      blocks[#blocks + 1] = block
      blocks[#blocks + 1] = block
    end
  end
  local new = 0
  for first = 1, #blocks, X.PART do
    local last = math.min(#blocks, first + X.PART - 1)
    new = new + redis.call('ZADD', W.p .. K.FACT .. key, unpack(blocks, first, last))
  end
  if new == 0 then return end
  for block in pairs(seen) do add_fact(block, key) end
end

local function lease(session, worker, ask)
  local queues, want, nonce, aged, ids = ask[3], ask[4], ask[5], ask[6], ask[7]
  if redis.call('HGET', W.p .. K.NONCES, session) == nonce then
    return held_under(session, nonce)
  end
  if want <= 0 then return {} end
  redis.call('HSET', W.p .. K.NONCES, session, nonce)
  local taker = {
    session = session, worker = worker, nonce = nonce, want = want,
    room = {}, queues = {}, taken = {},
  }
  if #queues == 0 then return taker.taken end
  measure_room(taker, queues)
  if #ids > 0 then take_named(taker, ids) end
  take_oldest(taker, math.min(aged, want - #taker.taken))
  for _, queue in ipairs(taker.queues) do take_best(taker, queue) end
  flush()
  note_worker(worker, taker.taken)
  return taker.taken
end

-- What a child learns of its parents: id, node, and the result of those that completed.
local function parents_for(k)
  local parents, told, asked = parents_of(k), {}, {}
  fetch(parents)
  for i = 1, #parents do
    local r = W.jobs[parents[i]]
    if r and r[F.STATE] == S.COMPLETED and r[F.RESULT] == true then
      asked[#asked + 1] = parents[i]
    end
  end
  local found, results = read_fields(W.p .. K.RESULTS, asked), {}
  for i = 1, #asked do results[asked[i]] = found[i] end
  for i = 1, #parents do
    local r = W.jobs[parents[i]]
    if r then
      local n = #told
      told[n + 1], told[n + 2], told[n + 3] = r[F.ID], r[F.NODE] or false, false
      if r[F.STATE] == S.COMPLETED then
        told[n + 3] = results[parents[i]] or r[F.RESULT] or 'null'
      end
    end
  end
  return told
end

local function leases(ks)
  if #ks == 0 then return '', {}, {} end
  local numbers, parents = {}, {}
  for i = 1, #ks do
    local r, n = W.jobs[ks[i]], #numbers
    numbers[n + 1], numbers[n + 2] = r[F.ATTEMPT], r[F.EPOCH]
    numbers[n + 3], numbers[n + 4] = r[F.FAILED] or 0, r[F.LOST] or 0
    numbers[n + 5] = r[F.CANCEL_REQUESTED] and 1 or 0
    if r[F.HAS_PARENTS] then
      parents[#parents + 1] = i - 1
      parents[#parents + 1] = parents_for(ks[i])
    end
  end
  return cmsgpack.pack(numbers), read_fields(W.p .. K.SPECS, ks), parents
end

local function exchange(keys, args)
  local ask = begin(keys, args)
  local session = ask[1]
  local packed = redis.call('HGET', W.p .. K.SESSIONS, session)
  local known = packed and cmsgpack.unpack(packed)
  if not known or known[Z.ENDED_AT] then return {known and known[Z.STATE] or 'unknown'} end
  if promote(X.PROMOTED) > 0 then flush() end
  local settled = settle_all(ask[2], 'worker:' .. known[Z.NAME])
  local numbers, specs, parents = leases(lease(session, known[Z.NAME], ask))
  close()
  return {settled, numbers, specs, parents}
end

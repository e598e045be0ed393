-- cancel, requeue, overdue, reap, purge: what people and the keeper do to jobs.
-- KEYS  [1] the namespace; read and written: almost all of it.
-- ARGV  cancel: [1] now, [2] msgpack [actor, reason, ids, only live ones]
--       requeue: [1] now, [2] msgpack [actor, reason, ids, only ended ones, downstream, interval],
--         [3] the new payload, if any
--       overdue: [1] now, [2] msgpack [grace, limit]
--       reap: [1] now, [2] msgpack [actor, sessions, grace, limit, verdicts on overdue jobs]
--         A verdict is [job, epoch, seconds until the next attempt or nil].
--       purge: [1] now, [2] msgpack [actor, older_than, ended jobs, waiting jobs]
-- Gives cancel, requeue: ids and answers in turn. overdue: jobs, epochs, failures, specs.
--       reap: [sessions, requeued, buried, promoted]. purge: [how many, now, ended jobs kept].
-- Moves cancel, request_cancel, requeue, reschedule, reblock, lose, expire, bury, due, and what
--       follows in a workflow.

local function call_off(k, actor, reason)
  local r = W.jobs[k]
  local state = r[F.STATE]
  if is_ended(state) then return 'too_late' end
  if is_leased(state) and r[F.CANCEL_REQUESTED] then return 'requested' end
  local answer = 'cancelled'
  if is_leased(state) then
    answer = 'requested'
    put(r, F.CANCEL_REQUESTED, true)
    move(k, E.REQUEST_CANCEL)
    tell(r)
  else
    move(k, E.CANCEL)
  end
  log(N.JOB_CANCELLED, actor, k, nil, nil, {answer = answer, reason = reason})
  return answer
end

local function cancel(keys, args)
  local ask = begin(keys, args)
  local actor, reason, ids, only_live = ask[1], ask[2], ask[3], ask[4]
  local ks, told, ended, seen = places_of(ids), {}, {}, {}
  fetch(ks)
  for i = 1, #ids do
    local k = ks[i]
    if k and not seen[k] and not (only_live and is_ended(W.jobs[k][F.STATE])) then
      seen[k] = true
      local answer = call_off(k, actor, reason)
      told[#told + 1] = ids[i]
      told[#told + 1] = answer
      if answer == 'cancelled' then ended[#ended + 1] = k end
    end
  end
  -- Jobs that were named are cancelled by their own right first, what depends on them after.
  cascade(ended)
  close()
  return told
end

local function take_key(k)
  local field = W.jobs[k][F.UNIQUE]
  if not field then return true end
  redis.call('HSETNX', W.p .. K.UNIQUE, field, k)
  return redis.call('HGET', W.p .. K.UNIQUE, field) == k
end

local function renew(k, delay)
  local r = W.jobs[k]
  for _, field in ipairs(X.RENEWED) do put(r, field, false) end
  if r[F.RESULT] == true then redis.call('HDEL', W.p .. K.RESULTS, k) end
  put(r, F.RESULT, false)
  r[F.DUE_AT] = W.now + delay
  local expires = head(r)[H.EXPIRES]
  if expires then put(r, F.EXPIRES_AT, W.now + expires) end
end

-- Adds to the revived jobs what comes back to life with them.
local function drag(revived, is_revived, downstream)
  local queue, seen, i = {unpack(revived)}, {}, 1
  for _, k in ipairs(revived) do seen[k] = true end
  while queue[i] do
    local parent = W.jobs[queue[i]]
    local kids = parent[F.HAS_CHILDREN]
      and redis.call('SMEMBERS', W.p .. K.KIDS .. queue[i]) or {}
    table.sort(kids)
    fetch(kids)
    for _, k in ipairs(kids) do
      local r = W.jobs[k]
      if r and not seen[k] then
        seen[k] = true
        local state, comes = r[F.STATE], false
        if downstream then
          comes = is_ended(state)
        else
          comes = state == S.CANCELLED and r[F.ERROR_CODE] == X.PARENT_FAILED_CODE
        end
        if comes and take_key(k) then
          renew(k, 0)
          is_revived[k] = true
          revived[#revived + 1] = k
          queue[#queue + 1] = k
        elseif downstream and is_live(state) then
          queue[#queue + 1] = k
        end
      end
    end
    i = i + 1
  end
end

local function revive(revived, is_revived)
  for _, k in ipairs(revived) do
    for _, kid in ipairs(blocked_kids(k)) do
      local r = W.jobs[kid]
      r[F.WAITING_FOR] = r[F.WAITING_FOR] + 1
      touch(kid)
    end
  end
  local waits = {}
  for _, k in ipairs(revived) do
    waits[k] = 0
    if W.jobs[k][F.HAS_PARENTS] then
      local parents = parents_of(k)
      fetch(parents)
      for _, parent in ipairs(parents) do
        local r = W.jobs[parent]
        if is_revived[parent] or (r and is_live(r[F.STATE])) then waits[k] = waits[k] + 1 end
      end
    end
  end
  for _, k in ipairs(revived) do
    local r = W.jobs[k]
    if waits[k] > 0 then
      put(r, F.WAITING_FOR, waits[k])
      move(k, E.REBLOCK)
    else
      move(k, r[F.DUE_AT] > W.now and E.RESCHEDULE or E.REQUEUE)
    end
  end
end

-- A spec is the length of its head, the head, and the payload, which nobody here looks into.
local function change_payload(k, payload)
  local spec = redis.call('HGET', W.p .. K.SPECS, k)
  local length = struct.unpack('>I4', spec)
  redis.call('HSET', W.p .. K.SPECS, k, spec:sub(1, 4 + length) .. payload)
end

local function requeue(keys, args)
  local ask = begin(keys, args)
  local actor, reason, ids, only_ended, downstream, interval =
    ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
  local ks, told, revived, is_revived, seen = places_of(ids), {}, {}, {}, {}
  fetch(ks)
  for i = 1, #ids do
    local k = ks[i]
    local ended = k and is_ended(W.jobs[k][F.STATE])
    if k and not seen[k] and (ended or not only_ended) then
      seen[k] = true
      local free = ended and take_key(k)
      if free then
        renew(k, #revived * interval)
        if args[3] then change_payload(k, args[3]) end
        is_revived[k] = true
        revived[#revived + 1] = k
        log(N.JOB_REQUEUED, actor, k, nil, nil, {reason = reason})
      end
      told[#told + 1] = ids[i]
      told[#told + 1] = free and 'requeued' or 'refused'
    end
  end
  drag(revived, is_revived, downstream)
  revive(revived, is_revived)
  close()
  return told
end

local function declare_dead(named, grace, actor)
  local wanted, dead = {}, {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', W.p .. K.ALIVE, '-inf', W.now - grace)) do
    wanted[#wanted + 1] = id
  end
  local known = {}
  for _, id in ipairs(named) do
    known[id] = true
    wanted[#wanted + 1] = id
  end
  for _, id in ipairs(wanted) do
    local s = read_session(id)
    if s and not s[Z.ENDED_AT] and (known[id] or W.now - s[Z.EXPIRES_AT] > grace) then
      end_session(id, s, 'dead')
      redis.call('SADD', W.p .. K.DEAD, id)
      dead[#dead + 1] = id
      log(N.WORKER_DIED, actor, nil, nil, s[Z.NAME], {session = id})
    end
  end
  return dead
end

local function forget_sessions()
  local old = redis.call(
    'ZRANGEBYSCORE', W.p .. K.GONE, '-inf', '(' .. string.format('%.17g', W.now - X.SESSION_KEEP),
    'LIMIT', 0, X.FORGOTTEN)
  for _, id in ipairs(old) do
    if redis.call('EXISTS', W.p .. K.HELD .. id) == 0 then
      redis.call('HDEL', W.p .. K.SESSIONS, id)
      redis.call('ZREM', W.p .. K.GONE, id)
    end
  end
end

local function take_from_the_dead(limit, taken, actor)
  for _, id in ipairs(redis.call('SMEMBERS', W.p .. K.DEAD)) do
    local left = limit - #taken
    if left <= 0 then return end
    local ks = redis.call('SRANDMEMBER', W.p .. K.HELD .. id, left)
    table.sort(ks)
    fetch(ks)
    for _, k in ipairs(ks) do
      lose(k, actor)
      taken[#taken + 1] = k
    end
    if #ks < left then redis.call('SREM', W.p .. K.DEAD, id) end
  end
end

local function time_out(verdict, latest, taken, actor)
  local k = verdict[1]
  local r = job(k)
  if not r or not r[F.SESSION] or r[F.EPOCH] ~= verdict[2] then return end
  if not r[F.DEADLINE_AT] or r[F.DEADLINE_AT] >= latest then return end
  put(r, F.FAILED, (r[F.FAILED] or 0) + 1)
  put(r, F.ERROR, X.TIMED_OUT)
  put(r, F.ERROR_CODE, X.TIMED_OUT_CODE)
  log(N.JOB_LOST, actor, k, nil, nil, {code = X.TIMED_OUT_CODE})
  finish(k, O.FAILED, actor, 'timed_out', X.TIMED_OUT, verdict[3])
  taken[#taken + 1] = k
end

local function expire(limit, taken, actor)
  local ks = redis.call(
    'ZRANGEBYSCORE', W.p .. K.EXPIRING, '-inf', '(' .. string.format('%.17g', W.now),
    'LIMIT', 0, math.max(0, limit))
  fetch(ks)
  local expired = {}
  for _, k in ipairs(ks) do
    local r = W.jobs[k]
    if is_waiting(r[F.STATE]) then
      put(r, F.ERROR, X.EXPIRED)
      put(r, F.ERROR_CODE, X.EXPIRED_CODE)
      bury(k, E.EXPIRE, actor)
      expired[#expired + 1] = k
      taken[#taken + 1] = k
    end
  end
  cascade(expired)
end

local function reap(keys, args)
  local ask = begin(keys, args)
  local actor, sessions, grace, limit, verdicts = ask[1], ask[2], ask[3], ask[4], ask[5]
  local taken = {}
  local dead = declare_dead(sessions, grace, actor)
  forget_sessions()
  take_from_the_dead(limit, taken, actor)
  local latest = W.now - grace - X.DEADLINE_GRACE
  for _, verdict in ipairs(verdicts) do
    if #taken < limit then time_out(verdict, latest, taken, actor) end
  end
  flush()
  expire(limit - #taken, taken, actor)
  local requeued, buried = {}, {}
  for _, k in ipairs(taken) do
    local r = W.jobs[k]
    if is_waiting(r[F.STATE]) then requeued[#requeued + 1] = r[F.ID] end
    if r[F.STATE] == S.DEAD_LETTER then buried[#buried + 1] = r[F.ID] end
  end
  flush()
  local promoted = promote(limit - #taken)
  close()
  return {dead, requeued, buried, promoted}
end

local function overdue(keys, args)
  local ask = begin(keys, args)
  local ks = redis.call(
    'ZRANGEBYSCORE', W.p .. K.DEADLINES, '-inf', W.now - ask[1] - X.DEADLINE_GRACE,
    'LIMIT', 0, ask[2])
  fetch(ks)
  local epochs, failed = {}, {}
  for i = 1, #ks do
    epochs[i] = W.jobs[ks[i]][F.EPOCH]
    failed[i] = (W.jobs[ks[i]][F.FAILED] or 0) + 1
  end
  return {ks, epochs, failed, read_fields(W.p .. K.SPECS, ks)}
end

local function is_over(flow)
  local counts = redis.call('HMGET', W.p .. K.FLOWTALLY .. flow, unpack(X.LIVE_STATES))
  for i = 1, #counts do
    if (tonumber(counts[i]) or 0) > 0 then return false end
  end
  return true
end

-- Forgets a block that has no job left, with its marks.
local function forget_block(block)
  local fields = {}
  for state = 1, X.STATES do fields[state] = block .. ':' .. state end
  local left = redis.call('HMGET', W.p .. K.CENSUS, unpack(fields))
  for i = 1, #left do
    if left[i] then return end
  end
  local packed = redis.call('HGET', W.p .. K.BLOCKS, block)
  if not packed then return end
  for _, fact in ipairs(cmsgpack.unpack(packed)[3]) do
    redis.call('ZREM', W.p .. K.FACT .. fact, block)
  end
  redis.call('HDEL', W.p .. K.BLOCKS, block)
end

local function forget_member(flow, k)
  local key = W.p .. K.FLOW .. flow
  redis.call('ZREM', key, k)
  redis.call('HDEL', W.p .. K.FLOWTALLY .. flow, 'last')
  if redis.call('EXISTS', key) == 0 then
    redis.call('DEL', W.p .. K.FLOWTALLY .. flow)
    redis.call('HDEL', W.p .. K.FLOWS, flow)
    redis.call('ZREM', W.p .. K.FLOWLIST, flow)
  end
end

-- Deletes jobs with all that belongs to them.
local function forget(ks)
  local ids, tries, with_result, with_parents = {}, {}, {}, {}
  for i, k in ipairs(ks) do
    local r = W.jobs[k]
    ids[i] = r[F.ID]
    for epoch = 1, r[F.EPOCH] - 1 do tries[#tries + 1] = k .. ':' .. epoch end
    if r[F.RESULT] == true then with_result[#with_result + 1] = k end
    if r[F.HAS_LOGS] then redis.call('DEL', W.p .. K.LOGS .. k) end
    if r[F.HAS_CHILDREN] then redis.call('DEL', W.p .. K.KIDS .. k) end
    if r[F.HAS_PARENTS] then
      for _, parent in ipairs(parents_of(k)) do redis.call('SREM', W.p .. K.KIDS .. parent, k) end
      with_parents[#with_parents + 1] = k
    end
    W.gone[k] = true
    touch(k)
  end
  flush()
  local blocks = {}
  for _, k in ipairs(ks) do
    blocks[string.format('%d', block_of(k))] = true
    local flow = head(W.jobs[k])[H.WORKFLOW_ID]
    if flow then forget_member(flow, k) end
  end
  for block in pairs(blocks) do forget_block(block) end
  in_parts('HDEL', W.p .. K.JOBS, ks)
  in_parts('HDEL', W.p .. K.SPECS, ks)
  in_parts('HDEL', W.p .. K.IDS, ids)
  in_parts('HDEL', W.p .. K.TRIES, tries)
  in_parts('HDEL', W.p .. K.RESULTS, with_result)
  in_parts('HDEL', W.p .. K.PARENTS, with_parents)
end

local function purge(keys, args)
  local ask = begin(keys, args)
  local actor, older_than, ended, waiting = ask[1], ask[2], ask[3], ask[4]
  fetch(ended)
  fetch(waiting)
  local doomed, kept, over = {}, {}, {}
  for _, k in ipairs(ended) do
    local r = W.jobs[k]
    local n = #doomed
    if r and is_ended(r[F.STATE]) and W.now - r[F.FINISHED_AT] >= older_than then
      local flow = head(r)[H.WORKFLOW_ID]
      if flow and over[flow] == nil then over[flow] = is_over(flow) end
      if not flow or over[flow] then doomed[n + 1] = k end
    end
    if #doomed == n then kept[#kept + 1] = k end
  end
  local called_off = {}
  for _, k in ipairs(waiting) do
    local r = W.jobs[k]
    if r and is_waiting(r[F.STATE]) and not head(r)[H.WORKFLOW_ID] then
      move(k, E.CANCEL)
      called_off[#called_off + 1] = k
      doomed[#doomed + 1] = k
    end
  end
  cascade(called_off)
  flush()
  if #doomed > 0 then
    forget(doomed)
    log(N.JOBS_PURGED, actor, nil, nil, nil, {count = #doomed})
  end
  close()
  return {#doomed, string.format('%.17g', W.now), kept}
end

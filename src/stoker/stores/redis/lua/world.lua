-- The jobs that a call looks at, and how their changes reach the keys.
-- KEYS  [1] the namespace; read and written: jobs, ids, tallies, census, and whatever index
--       `home` names for a job's state (ready, due, held, ended), deadlines, expiring, facts,
--       flow tallies.
-- ARGV  [1] now in seconds, empty for the server's own clock. The rest belongs to the function.
-- Moves any of the table: `move` is the only place that changes a state.
--
-- A call reads jobs into `W.jobs`, changes them there, and `flush` writes each of them once: its
-- record, the indexes it left and entered, and the tallies. Whatever can be refused is refused
-- before the first flush, because an error in the middle of a function does not undo its writes.

local W

local function begin(keys, args)
  local now = args[1]
  if now == '' then
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / 1000000
  else
    now = tonumber(now)
  end
  W = {
    p = keys[1], now = now,
    jobs = {}, state = {}, place = {}, score = {}, limit = {},
    dirty = {}, order = {}, gone = {}, heads = {}, tries = {}, texts = {}, held = {},
    rung = {}, freed = {}, counted = {}, summed = {}, events = {}, kof = {}, holders = {},
  }
  return args[2] and cmsgpack.unpack(args[2])
end

-- What never changes in a job, once for all jobs that share it.
local function head(r)
  local text = r[F.HEAD]
  local h = W.heads[text]
  if not h then
    h = cmsgpack.unpack(text)
    h.ready = K.READY .. h[H.RANK] .. ':' .. h[H.QUEUE]
    h.tally = ':' .. h[H.RANK] .. ':' .. h[H.QUEUE]
    h.moves = {}
    h.counts = {}
    h.cell = ':' .. #h[H.QUEUE] .. ':' .. h[H.QUEUE] .. h[H.TASK]
    W.heads[text] = h
  end
  return h
end

-- Sets a field of a record, which has no holes: a table with holes would be packed as a map.
local function put(r, field, value)
  local n = #r
  if not value and field > n then return end
  for i = n + 1, field - 1 do r[i] = false end
  r[field] = value or false
end

local ENDED = {
  [S.COMPLETED] = K.ENDED .. S.COMPLETED,
  [S.DEAD_LETTER] = K.ENDED .. S.DEAD_LETTER,
  [S.CANCELLED] = K.ENDED .. S.CANCELLED,
}

local function held_by(session)
  local key = W.held[session]
  if not key then
    key = K.HELD .. session
    W.held[session] = key
  end
  return key
end

-- The set that keeps a job in its state, and by what it sorts, if it does.
local function home(r)
  local state = r[F.STATE]
  if state == S.QUEUED then
    return head(r).ready, r[F.DUE_AT]
  elseif state == S.SCHEDULED or state == S.RETRY_QUEUED then
    return K.DUE, r[F.DUE_AT]
  elseif state == S.ASSIGNED or state == S.RUNNING then
    return held_by(r[F.SESSION])
  elseif state ~= S.BLOCKED then
    return ENDED[state], r[F.FINISHED_AT]
  end
end

local function is_waiting(state)
  return state == S.QUEUED or state == S.SCHEDULED or state == S.RETRY_QUEUED
    or state == S.BLOCKED
end

local function is_leased(state)
  return state == S.ASSIGNED or state == S.RUNNING
end

local function is_ended(state)
  return state == S.COMPLETED or state == S.DEAD_LETTER or state == S.CANCELLED
end

local function is_live(state)
  return is_waiting(state) or is_leased(state)
end

local function has_expired(r)
  return r[F.EXPIRES_AT] and W.now > r[F.EXPIRES_AT]
end

-- Calls a command for many members, a bounded number at a time; unpack has a limit.
local function in_parts(command, key, values)
  for first = 1, #values, X.PART do
    redis.call(command, key, unpack(values, first, math.min(#values, first + X.PART - 1)))
  end
end

local function read_fields(key, fields)
  local found, n = {}, #fields
  if n == 0 then return found end
  if n <= X.PART then return redis.call('HMGET', key, unpack(fields)) end
  for first = 1, n, X.PART do
    local part = redis.call('HMGET', key, unpack(fields, first, math.min(n, first + X.PART - 1)))
    for i = 1, #part do found[first + i - 1] = part[i] end
  end
  return found
end

local function fetch(ks)
  local jobs, wanted, n = W.jobs, {}, 0
  for i = 1, #ks do
    local k = ks[i]
    if k and jobs[k] == nil then
      jobs[k] = false
      n = n + 1
      wanted[n] = k
    end
  end
  if n == 0 then return end
  local found = read_fields(W.p .. K.JOBS, wanted)
  for i = 1, n do
    if found[i] then
      local k, r = wanted[i], cmsgpack.unpack(found[i])
      jobs[k] = r
      W.state[k] = r[F.STATE]
      W.place[k], W.score[k] = home(r)
      W.limit[k] = r[F.DEADLINE_AT] or nil
    end
  end
end

local function job(k)
  if W.jobs[k] == nil then fetch({k}) end
  return W.jobs[k]
end

-- Ids to the keys of their jobs, false for unknown ones; remembered in `W.kof`.
local function places_of(ids)
  local kof, wanted = W.kof, {}
  for i = 1, #ids do
    local id = ids[i]
    if kof[id] == nil then
      kof[id] = false
      wanted[#wanted + 1] = id
    end
  end
  local found = read_fields(W.p .. K.IDS, wanted)
  for i = 1, #wanted do kof[wanted[i]] = found[i] or false end
  local ks = {}
  for i = 1, #ids do ks[i] = kof[ids[i]] end
  return ks
end

local function touch(k)
  if not W.dirty[k] then
    W.dirty[k] = true
    W.order[#W.order + 1] = k
  end
end

local function parents_of(k)
  local packed = redis.call('HGET', W.p .. K.PARENTS, k)
  return packed and cmsgpack.unpack(packed) or {}
end

local function free_key(k, r)
  local field = r[F.UNIQUE]
  if field and redis.call('HGET', W.p .. K.UNIQUE, field) == k then
    redis.call('HDEL', W.p .. K.UNIQUE, field)
    W.holders[field] = nil
  end
end

-- Puts a job into a state: a new job, or one that moves.
local function place(k, state)
  local r = W.jobs[k]
  r[F.STATE] = state
  if is_ended(state) then
    put(r, F.FINISHED_AT, W.now)
    put(r, F.WAITING_FOR, false)
    free_key(k, r)
  end
  touch(k)
end

local function move(k, event)
  local state = T[W.jobs[k][F.STATE] * 64 + event]
  if not state then error('state ' .. W.jobs[k][F.STATE] .. ' forbids event ' .. event) end
  place(k, state)
end

local function add(table, key, amount)
  table[key] = (table[key] or 0) + amount
end

local function append(table, key, a, b)
  local list = table[key]
  if not list then
    list = {}
    table[key] = list
  end
  list[#list + 1] = a
  if b ~= nil then list[#list + 1] = b end
end

-- A number as text; the same moments are written again and again, and making texts is slow.
local function text_of(number)
  local text = W.texts[number]
  if not text then
    text = string.format('%.17g', number)
    W.texts[number] = text
  end
  return text
end

local function write_tallies(moved)
  for h in pairs(moved) do
    local flow = h[H.WORKFLOW_ID]
    for state, n in pairs(h.moves) do
      if n ~= 0 then
        redis.call('HINCRBY', W.p .. K.TALLIES, state .. h.tally, n)
        if flow then redis.call('HINCRBY', W.p .. K.FLOWTALLY .. flow, state, n) end
      end
      if flow and n > 0 and is_ended(state) then
        redis.call('HSET', W.p .. K.FLOWTALLY .. flow, 'last', text_of(W.now))
      end
    end
    h.moves = {}
  end
end

-- How many jobs of each block are in each state; a block that has one is marked for `scan`.
local function write_census(census)
  for block, states in pairs(census) do
    local name = string.format('%d', block)
    for state, n in pairs(states) do
      local field = name .. ':' .. state
      local left = n ~= 0 and redis.call('HINCRBY', W.p .. K.CENSUS, field, n)
      if left == n then
        redis.call('ZADD', W.p .. K.FACT .. 'state:' .. state, name, name)
      elseif left == 0 then
        redis.call('HDEL', W.p .. K.CENSUS, field)
        redis.call('ZREM', W.p .. K.FACT .. 'state:' .. state, name)
      end
    end
  end
end

local function block_of(k)
  return math.floor(tonumber(k) / X.BLOCK)
end

-- Whether anybody listens to the news of jobs; if not, nobody writes them.
local function is_heard()
  if W.heard == nil then
    W.heard = redis.call('PUBSUB', 'NUMSUB', W.p .. K.NEWS)[2] > 0
    W.news = {}
  end
  return W.heard
end

local function tell(r)
  if is_heard() then W.news[#W.news + 1] = r[F.ID] end
end

local function tell_waiters(h, r, was, is)
  if is == S.QUEUED or is == S.SCHEDULED or is == S.RETRY_QUEUED then
    W.rung[h[H.QUEUE]] = true
  end
  if was and is_leased(was) and not is_leased(is) then W.freed[h[H.QUEUE]] = true end
  tell(r)
end

-- Enters the move of one job from a state to another into the books.
local function enter(h, k, was, is, moved, census)
  local block = block_of(k)
  local states = census[block]
  if not states then
    states = {}
    census[block] = states
  end
  moved[h] = true
  if was then
    add(h.moves, was, -1)
    add(states, was, -1)
  end
  if is then
    add(h.moves, is, 1)
    add(states, is, 1)
  end
end

-- Enters what a job leaves and where it goes into the lists of members to remove and to add.
local function rearrange(k, r, was, is, to, score, rems, adds)
  local from = W.place[k]
  if from ~= to or W.score[k] ~= score then
    if from and from ~= to then append(rems, from, k) end
    if to then append(adds, to, score and text_of(score) or k, score and k or nil) end
  end
  local limit = is and r[F.DEADLINE_AT] or nil
  if limit and limit ~= W.limit[k] then append(adds, K.DEADLINES, text_of(limit), k) end
  if W.limit[k] and not limit then append(rems, K.DEADLINES, k) end
  if r[F.EXPIRES_AT] then
    if is and is_waiting(is) then
      append(adds, K.EXPIRING, text_of(r[F.EXPIRES_AT]), k)
    elseif was and is_waiting(was) then
      append(rems, K.EXPIRING, k)
    end
  end
  W.limit[k] = limit
end

local function is_plain_set(key)
  return key:sub(1, #K.HELD) == K.HELD
end

local function flush()
  local p, order = W.p, W.order
  if #order == 0 then return end
  local sets, rems, adds, moved, census = {}, {}, {}, {}, {}
  local n = 0
  for i = 1, #order do
    local k = order[i]
    local r, was = W.jobs[k], W.state[k]
    local is, to, score
    local h = head(r)
    if not W.gone[k] then
      is = r[F.STATE]
      to, score = home(r)
      sets[n + 1], sets[n + 2] = k, cmsgpack.pack(r)
      n = n + 2
    end
    if was ~= is then
      enter(h, k, was, is, moved, census)
      if is then tell_waiters(h, r, was, is) end
    end
    rearrange(k, r, was, is, to, score, rems, adds)
    W.state[k], W.place[k], W.score[k] = is, to, score
    W.dirty[k] = nil
  end
  W.order = {}
  in_parts('HSET', p .. K.JOBS, sets)
  for key, members in pairs(rems) do
    in_parts(is_plain_set(key) and 'SREM' or 'ZREM', p .. key, members)
  end
  for key, members in pairs(adds) do
    in_parts(is_plain_set(key) and 'SADD' or 'ZADD', p .. key, members)
  end
  if #W.tries > 0 then
    in_parts('HSET', p .. K.TRIES, W.tries)
    W.tries = {}
  end
  write_tallies(moved)
  write_census(census)
end

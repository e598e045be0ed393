-- get, scan, counts, flows, look: the views. They change nothing.
-- KEYS  [1] the namespace; read: all of it.
-- ARGV  get: [1] now, [2] msgpack [ids]
--       scan: [1] now, [2] msgpack [position, forwards, most, light, filter, ids or nil]
--         A filter is an array as `Q` names its parts.
--       counts: [1] now, [2] msgpack [window or nil, queue or nil]
--       flows: [1] now, [2] msgpack [ids, before, limit]
--       look: [1] now, [2] msgpack [queues, ids]
-- Gives get: a row for each id. scan: [where to go on, rows]. A row is [job, record, spec, result,
--       earlier attempts, log lines].
-- Moves none.

local function rows_of(ks, with_logs)
  local specs, asked = read_fields(W.p .. K.SPECS, ks), {}
  for i = 1, #ks do
    if W.jobs[ks[i]][F.RESULT] == true then asked[#asked + 1] = ks[i] end
  end
  local found, results, rows = read_fields(W.p .. K.RESULTS, asked), {}, {}
  for i = 1, #asked do results[asked[i]] = found[i] end
  for i = 1, #ks do
    local k = ks[i]
    local r, tries, lines = W.jobs[k], {}, {}
    for epoch = 1, r[F.EPOCH] - 1 do tries[epoch] = k .. ':' .. epoch end
    if #tries > 0 then tries = read_fields(W.p .. K.TRIES, tries) end
    if with_logs and r[F.HAS_LOGS] then
      lines = redis.call('LRANGE', W.p .. K.LOGS .. k, 0, -1)
    end
    rows[i] = {k, cmsgpack.pack(r), specs[i], results[k] or false, tries, lines}
  end
  return rows
end

local function get(keys, args)
  local ask = begin(keys, args)
  local found, known = places_of(ask[1]), {}
  fetch(found)
  for i = 1, #found do
    if found[i] then known[#known + 1] = found[i] end
  end
  return rows_of(known, true)
end

local function as_set(list)
  if not list then return nil end
  local set = {}
  for i = 1, #list do set[list[i]] = true end
  return set
end

local function compile(filter)
  return {
    states = as_set(filter[Q.STATES]), queues = as_set(filter[Q.QUEUES]),
    tasks = as_set(filter[Q.TASKS]), tenant = filter[Q.TENANT], flow = filter[Q.WORKFLOW_ID],
    schedule = filter[Q.SCHEDULE], worker = filter[Q.WORKER], failed = filter[Q.FAILED],
    after = filter[Q.AFTER], before = filter[Q.BEFORE], loose = filter[Q.LOOSE],
    ranks = as_set(filter[Q.RANKS]),
  }
end

local function matches(r, f)
  if f.states and not f.states[r[F.STATE]] then return false end
  local h = head(r)
  if f.queues and not f.queues[h[H.QUEUE]] then return false end
  if f.tasks and not f.tasks[h[H.TASK]] then return false end
  if f.ranks and not f.ranks[h[H.RANK]] then return false end
  if f.tenant and f.tenant ~= h[H.TENANT] then return false end
  if f.flow and f.flow ~= h[H.WORKFLOW_ID] then return false end
  if f.loose and h[H.WORKFLOW_ID] then return false end
  if f.schedule and f.schedule ~= h[H.SCHEDULE] then return false end
  if f.worker and f.worker ~= r[F.WORKER] then return false end
  if f.failed and not r[F.ERROR] then return false end
  if f.after and r[F.SUBMITTED_AT] < f.after then return false end
  return not f.before or r[F.SUBMITTED_AT] < f.before
end

-- The marks of blocks that may hold what a filter asks for: a list for each field, any of whose
-- members will do.
local function marks_for(filter)
  local groups = {}
  local function group(kind, values)
    if not values then return end
    local keys = {}
    for i = 1, #values do keys[i] = W.p .. K.FACT .. kind .. values[i] end
    groups[#groups + 1] = keys
  end
  group('state:', filter[Q.STATES])
  group('queue:', filter[Q.QUEUES])
  group('task:', filter[Q.TASKS])
  group('tenant:', filter[Q.TENANT] and {filter[Q.TENANT]})
  group('schedule:', filter[Q.SCHEDULE] and {filter[Q.SCHEDULE]})
  group('worker:', filter[Q.WORKER] and {filter[Q.WORKER]})
  group('', {'all'})
  return groups
end

local function sparsest(groups)
  local best, least
  for i, keys in ipairs(groups) do
    local n = 0
    for _, key in ipairs(keys) do n = n + redis.call('ZCARD', key) end
    if not least or n < least then best, least = i, n end
  end
  return best
end

local function next_block(keys, from, forwards)
  local best
  for _, key in ipairs(keys) do
    local found
    if forwards then
      found = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'LIMIT', 0, 1)[1]
    else
      found = redis.call('ZREVRANGEBYSCORE', key, from, '-inf', 'LIMIT', 0, 1)[1]
    end
    found = tonumber(found)
    if found and (not best or (forwards and found < best) or (not forwards and found > best)) then
      best = found
    end
  end
  return best
end

local function is_marked(groups, driver, block)
  local field = string.format('%d', block)
  for i, keys in ipairs(groups) do
    local any = i == driver
    for _, key in ipairs(keys) do
      any = any or redis.call('ZSCORE', key, field)
    end
    if not any then return false end
  end
  return true
end

local function is_in_time(f, block)
  if not (f.after or f.before) then return true end
  local packed = redis.call('HGET', W.p .. K.BLOCKS, string.format('%d', block))
  local info = packed and cmsgpack.unpack(packed)
  if not info then return false end
  return not (f.after and info[2] < f.after) and not (f.before and info[1] >= f.before)
end

-- Looks through blocks from a position on, at most so many, until enough is found.
local function scan_blocks(position, forwards, most, filter, f)
  local groups, found = marks_for(filter), {}
  local driver = sparsest(groups)
  local read, looked = 0, 0
  while #found < most and read < X.BLOCKS_A_CALL and looked < X.LOOKS do
    local block = next_block(groups[driver], math.floor(position / X.BLOCK), forwards)
    if not block then return false, found end
    looked = looked + 1
    local first, last = block * X.BLOCK, block * X.BLOCK + X.BLOCK - 1
    if is_marked(groups, driver, block) and is_in_time(f, block) then
      read = read + 1
      local from, to, step = math.max(first, position), last, 1
      if not forwards then from, to, step = math.min(last, position), first, -1 end
      local ks = {}
      for seq = from, to, step do ks[#ks + 1] = place_name(seq) end
      fetch(ks)
      for i = 1, #ks do
        local r = W.jobs[ks[i]]
        if r and matches(r, f) then
          found[#found + 1] = ks[i]
          if #found == most then return tonumber(ks[i]) + step, found end
        end
      end
    end
    position = forwards and last + 1 or first - 1
    if position < 0 then return false, found end
  end
  return position, found
end

local function scan_list(ks, position, forwards, most, f)
  local found = {}
  fetch(ks)
  for i = 1, #ks do
    local seq, r = tonumber(ks[i]), W.jobs[ks[i]]
    local ahead = (forwards and seq >= position) or (not forwards and seq <= position)
    if r and ahead and matches(r, f) then
      found[#found + 1] = ks[i]
      if #found == most then return seq + (forwards and 1 or -1), found end
    end
  end
  return false, found
end

local function scan_flow(flow, position, forwards, most, f)
  local key, ks = W.p .. K.FLOW .. flow, nil
  if forwards then
    ks = redis.call('ZRANGEBYSCORE', key, position, '+inf', 'LIMIT', 0, X.MEMBERS_A_CALL)
  else
    ks = redis.call('ZREVRANGEBYSCORE', key, position, '-inf', 'LIMIT', 0, X.MEMBERS_A_CALL)
  end
  local go_on, found = scan_list(ks, position, forwards, most, f)
  if not go_on and #ks == X.MEMBERS_A_CALL then
    go_on = tonumber(ks[#ks]) + (forwards and 1 or -1)
  end
  return go_on, found
end

local function scan_ids(ids, position, forwards, most, f)
  local ks, seen = {}, {}
  for _, k in ipairs(places_of(ids)) do
    if k and not seen[k] then
      seen[k] = true
      ks[#ks + 1] = k
    end
  end
  table.sort(ks, function(a, b)
    if forwards then return a < b end
    return a > b
  end)
  return scan_list(ks, position, forwards, most, f)
end

local function scan(keys, args)
  local ask = begin(keys, args)
  local position, forwards, most, light, filter, ids =
    ask[1], ask[2], ask[3], ask[4], ask[5], ask[6]
  local f = compile(filter)
  local go_on, found
  if ids then
    go_on, found = scan_ids(ids, position, forwards, most, f)
  elseif f.flow then
    go_on, found = scan_flow(f.flow, position, forwards, most, f)
  else
    go_on, found = scan_blocks(position, forwards, most, filter, f)
  end
  if not light then return {go_on, rows_of(found, false)} end
  local rows = {}
  for i = 1, #found do rows[i] = {found[i], cmsgpack.pack(W.jobs[found[i]])} end
  return {go_on, rows}
end

local function oldest_of(queue)
  local oldest = false
  for rank = 0, 2 do
    local first = redis.call(
      'ZRANGE', W.p .. K.READY .. rank .. ':' .. queue, 0, 0, 'WITHSCORES')
    if first[2] and (not oldest or tonumber(first[2]) < tonumber(oldest)) then
      oldest = first[2]
    end
  end
  return oldest
end

local function activity(window)
  local minutes = {}
  if window <= 0 then return minutes end
  local first, last = math.floor((W.now - window) / 60), math.floor(W.now / 60)
  for minute = first, last do
    local name = string.format('%d', minute * 60)
    local cells = redis.call('HGETALL', W.p .. K.MINUTE .. name)
    if #cells > 0 then
      minutes[#minutes + 1] = name
      minutes[#minutes + 1] = cells
    end
  end
  return minutes
end

local function queue_rows(names, settings)
  local rows = {}
  for i = 1, #names do
    local n = #rows
    rows[n + 1], rows[n + 2], rows[n + 3] = names[i], settings[i], oldest_of(names[i])
  end
  return rows
end

local function all_queues()
  local found, names, settings = redis.call('HGETALL', W.p .. K.QUEUES), {}, {}
  for i = 1, #found, 2 do
    names[#names + 1], settings[#settings + 1] = found[i], found[i + 1]
  end
  return queue_rows(names, settings)
end

local function counts(keys, args)
  local ask = begin(keys, args)
  return {
    string.format('%.17g', W.now), redis.call('HGETALL', W.p .. K.TALLIES), all_queues(),
    redis.call('HGETALL', W.p .. K.TOTALS), activity(ask[1]),
  }
end

local function last_end(flow)
  local ks, last = redis.call('ZRANGE', W.p .. K.FLOW .. flow, 0, -1), false
  fetch(ks)
  for i = 1, #ks do
    local at = W.jobs[ks[i]] and W.jobs[ks[i]][F.FINISHED_AT]
    if at and (not last or at > last) then last = at end
  end
  return last and string.format('%.17g', last)
end

local function flow_row(packed)
  local id = cmsgpack.unpack(packed)[2]
  local tally = redis.call('HGETALL', W.p .. K.FLOWTALLY .. id)
  local last = redis.call('HGET', W.p .. K.FLOWTALLY .. id, 'last')
  return {packed, tally, last or last_end(id)}
end

local function flows(keys, args)
  local ask = begin(keys, args)
  local ids, before, limit = ask[1], ask[2], ask[3]
  if #ids == 0 then
    local most = before and '(' .. string.format('%d', before) or '+inf'
    ids = redis.call(
      'ZREVRANGEBYSCORE', W.p .. K.FLOWLIST, most, '-inf', 'LIMIT', 0, limit)
    before = false
  end
  local rows = {}
  for _, packed in pairs(read_fields(W.p .. K.FLOWS, ids)) do
    if packed and (not before or cmsgpack.unpack(packed)[1] < before) then
      rows[#rows + 1] = flow_row(packed)
    end
  end
  return rows
end

local function has_fresh(queue)
  for rank = 0, 2 do
    local ks = redis.call(
      'ZRANGE', W.p .. K.READY .. rank .. ':' .. queue, 0, X.PASSED_OVER)
    fetch(ks)
    for i = 1, #ks do
      if not has_expired(W.jobs[ks[i]]) then return true end
    end
  end
  return false
end

local function is_ready(queues)
  local settings = settings_of(queues)
  for i, queue in ipairs(queues) do
    local set = settings[i]
    if set and not set[1] and (not set[2] or leased_of(queue) < set[2]) and has_fresh(queue) then
      return true
    end
  end
  return false
end

-- A text that differs whenever something about these jobs has changed.
local function trace(ks)
  local parts, ended = {}, #ks > 0
  for i = 1, #ks do
    local r = ks[i] and W.jobs[ks[i]]
    if r then
      local lines = r[F.HAS_LOGS] and redis.call('LINDEX', W.p .. K.LOGS .. ks[i], -1) or ''
      parts[i] = cmsgpack.pack({
        r[F.STATE], r[F.EPOCH], r[F.PROGRESS] or false, r[F.NOTE] or false,
        r[F.CANCEL_REQUESTED] or false, r[F.DUE_AT], lines,
      })
      ended = ended and is_ended(r[F.STATE])
    else
      parts[i] = '-'
      ended = false
    end
  end
  return redis.sha1hex(table.concat(parts)), ended
end

local function look(keys, args)
  local ask = begin(keys, args)
  local ks = places_of(ask[2])
  fetch(ks)
  local traces, ended = trace(ks)
  local due = #ask[1] > 0 and redis.call('ZRANGE', W.p .. K.DUE, 0, 0, 'WITHSCORES')[2]
  return {
    string.format('%.17g', W.now), is_ready(ask[1]) and 1 or 0, due or false, traces,
    ended and 1 or 0,
  }
end

local function promote_due(keys, args)
  begin(keys, args)
  local n = promote(X.PROMOTED)
  close()
  return n
end

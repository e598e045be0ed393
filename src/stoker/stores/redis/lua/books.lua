-- The books of a call: activity, totals, the audit trail, and who is woken.
-- KEYS  [1] the namespace; written: totals, minute:*, events, seqs; read: queues. Published to:
--       rings, news.
-- ARGV  none of its own.
-- Moves none.

local function count(k, outcome, waited, ran)
  local h = head(W.jobs[k])
  local found = h.counts[outcome]
  if not found then
    found = {0, 0, 0}
    h.counts[outcome] = found
    W.counted[h] = true
  end
  found[1] = found[1] + 1
  found[2] = found[2] + (waited or 0)
  found[3] = found[3] + (ran or 0)
end

local MARKS = {waited = {}, ran = {}}
for number = 0, X.CLASSES do
  MARKS.waited[number], MARKS.ran[number] = 'waited_' .. number, 'ran_' .. number
end

-- Counts the class that a duration falls into; the mirror of `stoker.core.spread.class_of`.
local function spread(h, kind, seconds)
  local number = 0
  if seconds > 0.001 then
    local mantissa, exponent = math.frexp(seconds * 1000)
    number = math.min(mantissa > 0.5 and exponent or exponent - 1, X.CLASSES)
  end
  local mark = MARKS[kind][number]
  local found = h.counts[mark]
  if found then
    found[1] = found[1] + 1
  else
    h.counts[mark] = {1, 0, 0}
  end
  W.summed[kind] = (W.summed[kind] or 0) + seconds
end

-- Writes a line into the audit trail. `details` is a table of plain values, or JSON as text.
local function log(kind, actor, k, queue, worker, details)
  local id = false
  if k then
    local r = W.jobs[k]
    id = r[F.ID]
    queue = head(r)[H.QUEUE]
    worker = worker or r[F.WORKER]
  end
  W.events[#W.events + 1] = {
    W.now, kind, actor, id, queue or false, worker or false, details or false,
  }
end

local function next_seq(counter, n)
  return redis.call('HINCRBY', W.p .. K.SEQS, counter, n) - n + 1
end

local function write_minute()
  if next(W.counted) == nil then return end
  local key = W.p .. K.MINUTE .. string.format('%d', math.floor(W.now / 60) * 60)
  local new, totals = false, {}
  for h in pairs(W.counted) do
    for outcome, sums in pairs(h.counts) do
      local cell = outcome .. h.cell
      new = redis.call('HINCRBY', key, 'n:' .. cell, sums[1]) == sums[1] or new
      if sums[2] ~= 0 then redis.call('HINCRBYFLOAT', key, 'w:' .. cell, sums[2]) end
      if sums[3] ~= 0 then redis.call('HINCRBYFLOAT', key, 'r:' .. cell, sums[3]) end
      totals[outcome] = (totals[outcome] or 0) + sums[1]
    end
  end
  for kind, seconds in pairs(W.summed) do
    totals[kind .. '_us'] = math.floor(seconds * 1e6 + 0.5)
  end
  for name, n in pairs(totals) do
    redis.call('HINCRBY', W.p .. K.TOTALS, name, string.format('%.0f', n))
  end
  if new then redis.call('EXPIRE', key, X.MINUTE_KEEP) end
end

local function write_events()
  local events = W.events
  if #events == 0 then return end
  local first = next_seq('event', #events)
  for i = 1, #events do
    redis.call('XADD', W.p .. K.EVENTS, 'MAXLEN', '~', X.EVENTS_KEPT,
      string.format('%d-0', first + i - 1), 'e', cmsgpack.pack(events[i]))
  end
end

local function settings_of(names)
  local found = read_fields(W.p .. K.QUEUES, names)
  local settings = {}
  for i = 1, #names do
    settings[i] = found[i] and cmsgpack.unpack(found[i]) or false
  end
  return settings
end

local function leased_of(queue)
  local fields = {}
  for rank = 0, 2 do
    fields[#fields + 1] = S.ASSIGNED .. ':' .. rank .. ':' .. queue
    fields[#fields + 1] = S.RUNNING .. ':' .. rank .. ':' .. queue
  end
  local sum = 0
  for _, n in ipairs(redis.call('HMGET', W.p .. K.TALLIES, unpack(fields))) do
    sum = sum + (tonumber(n) or 0)
  end
  return sum
end

-- One ring a call, whatever it made ready. Whoever misses it looks by himself.
local function ring()
  local freed = {}
  for queue in pairs(W.freed) do
    if not W.rung[queue] then freed[#freed + 1] = queue end
  end
  if #freed > 0 then
    local settings = settings_of(freed)
    for i = 1, #freed do
      if settings[i] and settings[i][2] then W.rung[freed[i]] = true end
    end
  end
  local queues = {}
  for queue in pairs(W.rung) do queues[#queues + 1] = queue end
  if #queues > 0 then redis.call('PUBLISH', W.p .. K.RINGS, cmsgpack.pack(queues)) end
  if W.heard and #W.news > 0 then
    redis.call('PUBLISH', W.p .. K.NEWS, cmsgpack.pack(W.news))
  end
end

local function close()
  flush()
  write_minute()
  write_events()
  ring()
end

-- submit: accepts jobs, each on its own, or a whole workflow or none of it.
-- KEYS  [1] the namespace; read: ids, unique; written: ids, jobs, specs, parents, kids:*, unique,
--       queues, flows, flowlist, flow:*, blocks, facts, and by `flush` the rest.
-- ARGV  [1] now, [2] msgpack [actor, [workflow id, name] or nil, specs, places in the order
--       parents before children, whether the graph has a cycle]
--       A spec is an array as `J` names its parts.
-- Gives msgpack [refused?, answers]: for each job its state, [state, id] of the one that was there
--       already, or [code, argument] of what speaks against it.
-- Moves none: it makes jobs.

-- Looks up in a few reads whatever the specs name.
local function look_up(specs)
  local ids, fields = {}, {}
  for i = 1, #specs do
    local spec = specs[i]
    ids[#ids + 1] = spec[J.ID]
    if spec[J.UNIQUE] then fields[#fields + 1] = spec[J.UNIQUE] end
    if spec[J.PARENTS] then
      for _, parent in ipairs(spec[J.PARENTS]) do ids[#ids + 1] = parent end
    end
  end
  local ks = places_of(ids)
  if #fields > 0 then
    local found = read_fields(W.p .. K.UNIQUE, fields)
    for i = 1, #fields do
      W.holders[fields[i]] = found[i]
      ks[#ks + 1] = found[i]
    end
  end
  fetch(ks)
end

local function unknown_parent(spec, others)
  for _, parent in ipairs(spec[J.PARENTS] or {}) do
    if not W.kof[parent] and not (others and others[parent]) then return parent end
  end
end

-- What a submit writes besides the jobs' own records and indexes.
local function new_batch()
  return {specs = {}, ids = {}, facts = {}, made = {}, parents = {}, kids = {}, members = {}}
end

local function note_facts(batch, k, h)
  local block = block_of(k)
  local facts = batch.facts[block]
  if not facts then
    facts = {}
    batch.facts[block] = facts
  end
  if not facts[h] then facts[h] = true end
end

-- Makes the record of a job; `start` gives it its first state.
local function make(batch, spec, k)
  local now = W.now
  local due_at = now + (spec[J.DELAY] or 0)
  if spec[J.RUN_AT] and spec[J.RUN_AT] > due_at then due_at = spec[J.RUN_AT] end
  local r = {spec[J.HEAD], spec[J.ID], S.BLOCKED, due_at, now, 0, 0}
  local h = head(r)
  if h[H.EXPIRES] then put(r, F.EXPIRES_AT, now + h[H.EXPIRES]) end
  if spec[J.NODE] then put(r, F.NODE, spec[J.NODE]) end
  W.jobs[k] = r
  W.kof[spec[J.ID]] = k
  local n = #batch.specs
  batch.specs[n + 1], batch.specs[n + 2] = k, spec[J.SPEC]
  batch.ids[n + 1], batch.ids[n + 2] = spec[J.ID], k
  batch.made[#batch.made + 1] = k
  note_facts(batch, k, h)
  if h[H.WORKFLOW_ID] then append(batch.members, h[H.WORKFLOW_ID], tonumber(k), k) end
  if spec[J.UNIQUE] then
    put(r, F.UNIQUE, spec[J.UNIQUE])
    W.holders[spec[J.UNIQUE]] = k
    redis.call('HSET', W.p .. K.UNIQUE, spec[J.UNIQUE], k)
  end
end

local function link(batch, k, spec)
  local parents = {}
  for i, parent in ipairs(spec[J.PARENTS]) do
    parents[i] = W.kof[parent]
    append(batch.kids, parents[i], k)
    local r = W.jobs[parents[i]]
    if not r[F.HAS_CHILDREN] then
      put(r, F.HAS_CHILDREN, true)
      touch(parents[i])
    end
  end
  put(W.jobs[k], F.HAS_PARENTS, true)
  batch.parents[#batch.parents + 1] = k
  batch.parents[#batch.parents + 1] = cmsgpack.pack(parents)
  return parents
end

local function start(batch, k, spec)
  count(k, 'submitted')
  local r = W.jobs[k]
  if spec[J.PARENTS] then
    local parents = link(batch, k, spec)
    if is_spoiled(r, parents) then
      put(r, F.ERROR, X.PARENT_FAILED)
      put(r, F.ERROR_CODE, X.PARENT_FAILED_CODE)
      place(k, S.CANCELLED)
      return
    end
    local live = count_live(parents)
    if live > 0 then
      put(r, F.WAITING_FOR, live)
      place(k, S.BLOCKED)
      return
    end
  end
  place(k, r[F.DUE_AT] > W.now and S.SCHEDULED or S.QUEUED)
end

local function place_name(seq)
  return string.format('%015d', seq)
end

-- Answers for a job that is there already, by its id or by its key; nil if there is none.
local function known(spec)
  local k = W.kof[spec[J.ID]] or (spec[J.UNIQUE] and W.holders[spec[J.UNIQUE]])
  local r = k and job(k)
  return r and {r[F.STATE], r[F.ID]}
end

local function accept(batch, spec)
  local answer = known(spec)
  if answer then return answer end
  local missing = unknown_parent(spec)
  if missing then return {'invalid_workflow', missing} end
  if not batch.next then batch.next = next_seq('job', batch.most) end
  local k = place_name(batch.next)
  batch.next = batch.next + 1
  make(batch, spec, k)
  start(batch, k, spec)
  return W.jobs[k][F.STATE]
end

-- Adds to what a block is remembered for, so that its marks go when it goes.
local function add_fact(block, fact)
  local packed = redis.call('HGET', W.p .. K.BLOCKS, block)
  if not packed then return end
  local info = cmsgpack.unpack(packed)
  for _, known in ipairs(info[3]) do
    if known == fact then return end
  end
  info[3][#info[3] + 1] = fact
  redis.call('HSET', W.p .. K.BLOCKS, block, cmsgpack.pack(info))
end

-- Remembers which blocks hold jobs of which queue, task and schedule, and from when to when.
local function write_facts(batch)
  for block, heads in pairs(batch.facts) do
    local field = string.format('%d', block)
    local packed = redis.call('HGET', W.p .. K.BLOCKS, field)
    local info = packed and cmsgpack.unpack(packed) or {W.now, W.now, {}}
    info[1], info[2] = math.min(info[1], W.now), math.max(info[2], W.now)
    local has = {}
    for _, fact in ipairs(info[3]) do has[fact] = true end
    for h in pairs(heads) do
      local facts = {'all', 'queue:' .. h[H.QUEUE], 'task:' .. h[H.TASK]}
      if h[H.SCHEDULE] then facts[#facts + 1] = 'schedule:' .. h[H.SCHEDULE] end
      if h[H.TENANT] then facts[#facts + 1] = 'tenant:' .. h[H.TENANT] end
      for _, fact in ipairs(facts) do
        if not has[fact] then
          has[fact] = true
          info[3][#info[3] + 1] = fact
          redis.call('ZADD', W.p .. K.FACT .. fact, block, field)
        end
      end
    end
    redis.call('HSET', W.p .. K.BLOCKS, field, cmsgpack.pack(info))
  end
end

local function write_batch(batch)
  if #batch.made == 0 then return end
  in_parts('HSET', W.p .. K.SPECS, batch.specs)
  in_parts('HSET', W.p .. K.IDS, batch.ids)
  in_parts('HSET', W.p .. K.PARENTS, batch.parents)
  for parent, kids in pairs(batch.kids) do in_parts('SADD', W.p .. K.KIDS .. parent, kids) end
  for flow, members in pairs(batch.members) do in_parts('ZADD', W.p .. K.FLOW .. flow, members) end
  local queues = {}
  for i = 1, #batch.made do queues[head(W.jobs[batch.made[i]])[H.QUEUE]] = true end
  for queue in pairs(queues) do
    redis.call('HSETNX', W.p .. K.QUEUES, queue, cmsgpack.pack({false, false}))
  end
  write_facts(batch)
end

local function refusals(specs, cycle)
  local refused, any, keys, inside, new = {}, false, {}, {}, false
  for i = 1, #specs do inside[specs[i][J.ID]] = true end
  for i = 1, #specs do
    local spec = specs[i]
    if not W.kof[spec[J.ID]] then
      new = true
      local field = spec[J.UNIQUE]
      if field then
        local holder = W.holders[field] and W.jobs[W.holders[field]][F.ID] or keys[field]
        keys[field] = keys[field] or spec[J.ID]
        if holder and holder ~= spec[J.ID] then
          refused[i], any = {'duplicate_job', holder}, true
        end
      end
      local missing = unknown_parent(spec, inside)
      if missing then refused[i], any = {'invalid_workflow', missing}, true end
    end
  end
  if any or not (cycle and new) then return any and refused end
  for i = 1, #specs do refused[i] = {'invalid_workflow', false} end
  return refused
end

local function write_flow(flow, made, actor)
  if redis.call('HEXISTS', W.p .. K.FLOWS, flow[1]) == 1 then return end
  local seq = next_seq('flow', 1)
  redis.call('HSET', W.p .. K.FLOWS, flow[1], cmsgpack.pack({seq, flow[1], flow[2], W.now}))
  redis.call('ZADD', W.p .. K.FLOWLIST, seq, flow[1])
  log(N.WORKFLOW_SUBMITTED, actor, nil, nil, nil, {workflow = flow[1], name = flow[2], jobs = made})
end

local function accept_workflow(batch, specs, flow, order, actor)
  local new = {}
  for i = 1, #specs do
    local id = specs[i][J.ID]
    if not W.kof[id] then
      batch.next = batch.next or next_seq('job', batch.most)
      make(batch, specs[i], place_name(batch.next))
      batch.next = batch.next + 1
      new[i] = true
    end
  end
  if #batch.made > 0 then write_flow(flow, #batch.made, actor) end
  -- A parent that is cancelled at once must be known before its children are looked at.
  for _, i in ipairs(order) do
    if new[i] then start(batch, W.kof[specs[i][J.ID]], specs[i]) end
  end
  local answers = {}
  for i = 1, #specs do
    local r = job(W.kof[specs[i][J.ID]])
    answers[i] = new[i] and r[F.STATE] or {r[F.STATE], r[F.ID]}
  end
  return answers
end

local function submit(keys, args)
  local ask = begin(keys, args)
  local actor, flow, specs, order, cycle = ask[1], ask[2], ask[3], ask[4], ask[5]
  look_up(specs)
  local batch, answers = new_batch(), {}
  batch.most = #specs
  if flow then
    local refused = refusals(specs, cycle)
    if refused then
      for i = 1, #specs do answers[i] = refused[i] or false end
      return cmsgpack.pack({true, answers})
    end
    answers = accept_workflow(batch, specs, flow, order, actor)
  else
    for i = 1, #specs do answers[i] = accept(batch, specs[i]) end
  end
  write_batch(batch)
  close()
  return cmsgpack.pack({false, answers})
end

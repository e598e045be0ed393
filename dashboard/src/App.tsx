/** The frame around the pages: where one can go, whether the figures are fresh, and the keyboard. */
import { useCallback, useEffect, useState, type ReactNode } from "react";
import { Link, Redirect, Route, Switch, useLocation } from "wouter";
import { logOut, useMay, useMe } from "./api/session";
import { isPaused, setPaused, start, useLive, type Feed, type Live } from "./api/live";
import { brief, short } from "./lib/format";
import { PLACES } from "./lib/places";
import { useShortcuts } from "./lib/shortcuts";
import { applyTheme, savedTheme, type Theme } from "./lib/theme";
import { ASKED, COMING } from "./pages/asked";
import { Overview } from "./pages/Overview";
import { Button } from "./ui/controls";
import { Icon } from "./ui/Icon";
import { fetchSoon, later } from "./ui/later";
import { Bones, Empty, Page } from "./ui/parts";

const BONES = <div className="page"><Bones /></div>;
const Jobs = later(() => import("./pages/Jobs").then((m) => m.Jobs), BONES);
const JobPage = later(() => import("./pages/Job").then((m) => m.JobPage), BONES);
const Queues = later(() => import("./pages/Queues").then((m) => m.Queues), BONES);
const Workers = later(() => import("./pages/Workers").then((m) => m.Workers), BONES);
const Schedules = later(() => import("./pages/Schedules").then((m) => m.Schedules), BONES);
const Workflows = later(() => import("./pages/Workflows").then((m) => m.Workflows), BONES);
const WorkflowPage = later(() => import("./pages/Workflow").then((m) => m.WorkflowPage), BONES);
const DeadLetters = later(() => import("./pages/DeadLetters").then((m) => m.DeadLetters), BONES);
const Audit = later(() => import("./pages/Audit").then((m) => m.Audit), BONES);
const Settings = later(() => import("./pages/Settings").then((m) => m.Settings), BONES);
const Palette = later(() => import("./ui/Palette").then((m) => m.Palette), COMING);
const Help = later(() => import("./ui/Help").then((m) => m.Help), COMING);
const Toasts = later(() => import("./ui/Toasts").then((m) => m.Toasts));

/** All but the graph of a workflow, which is as big as the rest together. */
const SOON = [Palette, Jobs, JobPage, ...ASKED, Toasts, Queues, Workers, DeadLetters, Schedules, Workflows, Audit, Settings, Help];

// A page that begins with jobs need not wait until the server has said who looks.
if (/^\/jobs\/./.test(location.pathname)) void JobPage.fetch();
else if (location.pathname === "/jobs") void Jobs.fetch();

/** After this long the first page stands, and what is likely to be wanted next may be fetched. */
const SETTLED = 600;

/** Whether the first page stands; by then a click finds what it needs. */
function useSettled(): boolean {
  const [settled, setSettled] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => {
      setSettled(true);
      void fetchSoon(SOON);
    }, SETTLED);
    return () => clearTimeout(timer);
  }, []);
  return settled;
}

/** Follows nothing live itself: a frame a second must not draw the whole page again. */
export function App() {
  const [theme, setTheme] = useTheme();
  const [open, setOpen] = useState<"help" | "palette" | null>(null);
  const settled = useSettled();
  const [location, go] = useLocation();
  const may = useMay();
  const streams = may("get /api/v1/live");
  useEffect(() => start(streams), [streams]);
  const places = PLACES.filter((place) => may(place.needs));
  const closed = !places.some((place) => place.path === root(location)) && PLACES.some((place) => place.path === root(location));
  useShortcuts({
    "?": () => setOpen("help"),
    "mod+k": () => setOpen("palette"),
    t: () => setTheme(next(theme)),
    p: () => setPaused(!isPaused()),
    ...Object.fromEntries(places.map(({ key, path }) => [`g ${key}`, () => go(path)])),
  });
  return (
    <div className="shell">
      <a className="skip" href="#content">Skip to the content</a>
      <Side places={places} theme={theme} setTheme={setTheme} onSearch={() => setOpen("palette")} onHelp={() => setOpen("help")} />
      <main className="main" id="content" tabIndex={-1}>
        <FeedBanner />
        {closed ? <Closed first={places[0]?.path} /> : (
          <Switch>
            <Route path="/" component={Overview} />
            <Route path="/login"><Redirect to="/" replace /></Route>
            <Route path="/jobs" component={Jobs} />
            <Route path="/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
            <Route path="/queues" component={Queues} />
            <Route path="/workers" component={Workers} />
            <Route path="/schedules" component={Schedules} />
            <Route path="/workflows" component={Workflows} />
            <Route path="/workflows/:id">{({ id }) => <WorkflowPage key={id} id={id} />}</Route>
            <Route path="/dead-letters" component={DeadLetters} />
            <Route path="/audit" component={Audit} />
            <Route path="/settings" component={Settings} />
            <Route>
              <Page title="Nothing here">
                <Empty title="This page does not exist"><Link className="link" href="/">To the overview</Link></Empty>
              </Page>
            </Route>
          </Switch>
        )}
      </main>
      {open === "help" && <Help onClose={() => setOpen(null)} />}
      {open === "palette" && <Palette onClose={() => setOpen(null)} />}
      {settled && <Toasts />}
    </div>
  );
}

/** The place that an address belongs to: "/jobs" of "/jobs/019a…". */
const root = (location: string): string => `/${location.split("/")[1] ?? ""}`;

/** A place that the key does not open. The first page is never shown as closed while another one is open. */
function Closed({ first }: { first: string | undefined }) {
  const [location] = useLocation();
  const me = useMe().data;
  if (first !== undefined && location === "/") return <Redirect to={first} replace />;
  return (
    <Page title="Closed">
      <Empty icon="keys" title={first === undefined ? "This key may not look" : "This key does not open this page"}>
        {me?.name} may {me?.scopes.join(", ")}{me?.tenant && `, for the tenant ${me.tenant}`}{me && me.queues.length > 0 && `, in ${me.queues.join(", ")}`}.
      </Empty>
    </Page>
  );
}

const next = (theme: Theme): Theme => (theme === "system" ? "light" : theme === "light" ? "dark" : "system");

function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(savedTheme);
  const change = useCallback((chosen: Theme) => {
    applyTheme(chosen);
    setTheme(chosen);
  }, []);
  return [theme, change];
}

function Side(props: { places: typeof PLACES; theme: Theme; setTheme: (theme: Theme) => void; onSearch: () => void; onHelp: () => void }) {
  const [location] = useLocation();
  const [open, setOpen] = useState(false);
  const live = useLive();
  const { places, theme } = props;
  const me = useMe().data;
  return (
    <header className={open ? "side open" : "side"}>
      <Link href="/" className="brand"><img src="/icon.svg" alt="" width={22} height={22} />Stoker</Link>
      <nav className="nav" aria-label="Pages">
        {places.map(({ path, name, icon }) => (
          <Link key={path} href={path} onClick={() => setOpen(false)} aria-current={path === root(location) ? "page" : undefined}>
            <Icon name={icon} />
            {name}
            <Tally path={path} live={live} />
          </Link>
        ))}
      </nav>
      <div className="side-end">
        <FeedState live={live} />
        <div className="side-tools">
          {me?.csrf && <Button kind="bare" icon="logout" label={`Log out ${me.name}`} onClick={() => void logOut()} />}
          <Button kind="bare" icon="search" label="Search everything (Ctrl K)" onClick={props.onSearch} />
          <Button
            kind="bare"
            icon={theme === "light" ? "sun" : theme === "dark" ? "moon" : "system"}
            label={`Colours: ${theme} (t)`}
            onClick={() => props.setTheme(next(theme))}
          />
          <Button kind="bare" icon="keys" label="Keyboard shortcuts (?)" onClick={props.onHelp} />
          <Button
            kind="bare"
            icon={live.feed === "paused" ? "play" : "pause"}
            label={live.feed === "paused" ? "Go on with live updates (p)" : "Hold live updates (p)"}
            onClick={() => setPaused(live.feed !== "paused")}
          />
        </div>
      </div>
      <div className="menu-button">
        <Button kind="bare" icon="menu" label="Menu" aria-expanded={open} onClick={() => setOpen(!open)} />
      </div>
    </header>
  );
}

function Tally({ path, live }: { path: string; live: Live }) {
  const stats = live.overview?.stats;
  if (!stats) return null;
  if (path === "/dead-letters" && stats.states["dead_letter"]) {
    return <span className="tally bad">{short(stats.states["dead_letter"])}</span>;
  }
  if (path === "/jobs") return <span className="tally">{short(stats.jobs)}</span>;
  if (path === "/workers") return <span className="tally">{stats.workers.total}</span>;
  if (path === "/queues") return <span className="tally">{stats.queues.length || ""}</span>;
  return null;
}

const FEED: Record<Feed, string> = {
  connecting: "Connecting",
  live: "Live",
  polled: "Every 5 s",
  paused: "Held",
  stale: "Stale",
  lost: "Lost",
  trouble: "Store away",
};

function FeedState({ live }: { live: Live }) {
  const tone = live.feed === "live" || live.feed === "polled" ? "live" : live.feed === "lost" || live.feed === "trouble" ? "lost" : "stale";
  return (
    <div className={`feed ${tone}`} role="status">
      <i className="pulse" />
      {FEED[live.feed]}
    </div>
  );
}

function FeedBanner() {
  const live = useLive();
  const silent = brief(live.silent / 1000);
  if (live.feed === "trouble") {
    return <Banner tone="bad">The server answers, its store does not: {live.trouble}</Banner>;
  }
  if (live.feed === "lost") {
    return <Banner tone="bad">The server has not been heard for {silent}. What you see is from then; the page comes back by itself.</Banner>;
  }
  if (live.feed === "stale") return <Banner tone="warn">Nothing heard for {silent}: the figures are stale.</Banner>;
  if (live.feed === "paused") {
    return (
      <Banner tone="warn">
        Live updates are held.
        <span className="grow" />
        <Button kind="tiny" onClick={() => setPaused(false)}>Go on</Button>
      </Banner>
    );
  }
  return null;
}

function Banner({ tone, children }: { tone: "warn" | "bad"; children: ReactNode }) {
  return <div className={`banner ${tone}`} role="alert"><Icon name="alert" /> {children}</div>;
}

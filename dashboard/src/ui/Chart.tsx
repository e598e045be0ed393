/** A chart of minutes: completed and failed as stacked bars, submitted as a line. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { date, length, short, time } from "../lib/format";

export interface Minute {
  minute_at: string;
  submitted: number;
  completed: number;
  failed: number;
}

/** A colour of the style sheet as the canvas needs it. */
export function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Minutes without a gap, in buckets that leave at most `most` bars. */
export function buckets(minutes: readonly Minute[], now: number, window: number, most = 60): uPlot.AlignedData {
  const size = Math.max(60, Math.ceil(window / most / 60) * 60);
  const last = Math.floor(now / 1000 / size) * size;
  const slots = Math.round(window / size);
  const first = last - (slots - 1) * size;
  const x = Array.from({ length: slots }, (_, i) => first + i * size);
  const completed = x.map(() => 0);
  const both = x.map(() => 0);
  const submitted = x.map(() => 0);
  for (const minute of minutes) {
    const at = Math.floor((Date.parse(minute.minute_at) / 1000 - first) / size);
    if (at < 0 || at >= slots) continue;
    completed[at] = (completed[at] ?? 0) + minute.completed;
    both[at] = (both[at] ?? 0) + minute.completed + minute.failed;
    submitted[at] = (submitted[at] ?? 0) + minute.submitted;
  }
  return [x, both, completed, submitted];
}

const HEIGHT = 196;

/** Half a bar of room on either side, so that the first and the newest one are whole. */
function roomy(plot: uPlot, min: number, max: number): uPlot.Range.MinMax {
  const [first, second] = plot.data[0];
  const half = first === undefined || second === undefined ? 30 : (second - first) / 2;
  return [min - half, max + half];
}

function options(width: number, tip: HTMLElement): uPlot.Options {
  const line = colour("line");
  const faint = colour("faint");
  const axis: uPlot.Axis = {
    stroke: faint,
    font: "11px system-ui, sans-serif",
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
  };
  const bars = uPlot.paths.bars?.({ size: [0.72, 40], radius: 0.15 });
  const bar = (name: string): uPlot.Series => ({
    fill: colour(name),
    width: 0,
    points: { show: false },
    ...(bars ? { paths: bars } : {}),
  });
  return {
    width,
    height: HEIGHT,
    padding: [10, 18, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: true, range: roomy }, y: { range: (_, __, max) => [0, Math.max(4, max * 1.08)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, gap: 4, space: 90, values: (_, ticks) => ticks.map((t) => time(t * 1000).slice(0, 5)) },
      { ...axis, size: 44, space: 36, values: (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? short(t) : "")) },
    ],
    series: [{}, bar("dead_letter"), bar("completed"), { stroke: colour("queued"), width: 1.5, points: { show: false } }],
    hooks: { setCursor: [(plot) => point(plot, tip)] },
  };
}

function point(plot: uPlot, tip: HTMLElement): void {
  const at = plot.cursor.idx;
  const left = plot.cursor.left ?? -1;
  const x = at === null || at === undefined ? undefined : plot.data[0][at];
  if (x === undefined || at === null || at === undefined || left < 0) {
    tip.classList.remove("on");
    return;
  }
  const value = (series: number) => plot.data[series]?.[at] ?? 0;
  const next = plot.data[0][1];
  const step = next === undefined ? 60 : next - (plot.data[0][0] ?? 0);
  const rows = [
    `${date(x * 1000)}, ${length(step)}`,
    `${short(value(3))} submitted`,
    `${short(value(2))} completed`,
    `${short(value(1) - value(2))} failed`,
  ];
  tip.replaceChildren(
    ...rows.map((text) => {
      const row = document.createElement("div");
      row.textContent = text;
      return row;
    }),
  );
  tip.classList.add("on");
  const right = left > plot.width - 220;
  tip.style.left = `${right ? left - 120 : left + 62}px`;
  tip.style.top = "14px";
}

export function Throughput({ data, label }: { data: uPlot.AlignedData; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(data);

  useEffect(() => {
    const host = box.current;
    const hint = tip.current;
    if (!host || !hint) return undefined;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(Math.max(200, host.clientWidth - 12), hint), latest.current, host);
    };
    draw();
    const resized = new ResizeObserver(() => {
      plot.current?.setSize({ width: Math.max(200, host.clientWidth - 12), height: HEIGHT });
    });
    resized.observe(host);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    window.addEventListener("stoker:theme", draw);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      window.removeEventListener("stoker:theme", draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    latest.current = data;
    plot.current?.setData(data);
  }, [data]);

  return (
    <div ref={box} className="chart" role="img" aria-label={label}>
      <div ref={tip} className="chart-tip" />
    </div>
  );
}

/** A small line of bars, for rows. */
export function Spark({ values, failed, label }: { values: readonly number[]; failed?: readonly number[]; label: string }) {
  const top = Math.max(1, ...values.map((v, i) => v + (failed?.[i] ?? 0)));
  const width = 3;
  return (
    <svg className="spark" width={values.length * width} height="20" role="img" aria-label={label}>
      {values.map((value, i) => {
        const bad = failed?.[i] ?? 0;
        const high = Math.round((value / top) * 18);
        const red = bad ? Math.max(1, Math.round((bad / top) * 18)) : 0;
        return (
          // eslint-disable-next-line react/no-array-index-key -- a place in time has no other name
          <g key={i}>
            <rect x={i * width} y={20 - Math.max(high, 1)} width={width - 1} height={Math.max(high, 1)} fill={high ? "var(--completed)" : "var(--line)"} />
            {red > 0 && <rect x={i * width} y={Math.max(0, 20 - high - red)} width={width - 1} height={red} fill="var(--dead_letter)" />}
          </g>
        );
      })}
    </svg>
  );
}

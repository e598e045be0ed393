/** Line icons on a grid of 16, drawn for this page. */
const PATHS = {
  overview: "M2.5 9.5V13.5M6.2 6.5V13.5M9.8 8.5V13.5M13.5 2.5V13.5",
  jobs: "M2.5 4H13.5M2.5 8H13.5M2.5 12H9.5",
  queues: "M2.5 3.5H10.5M2.5 8H13.5M2.5 12.5H7.5M13 2v3",
  workers: "M3 3H13V7H3ZM3 9H13V13H3ZM5.5 5H5.6M5.5 11H5.6",
  schedules: "M8 2.2A5.8 5.8 0 1 1 8 13.8A5.8 5.8 0 1 1 8 2.2ZM8 4.8V8L10.3 9.6",
  workflows: "M2 6H5.5V10H2ZM10.5 2.5H14V6H10.5ZM10.5 10H14V13.5H10.5ZM5.5 8H8V4.3H10.5M8 8V11.7H10.5",
  dead: "M8 2.2L14.2 13H1.8ZM8 6.3V9.3M8 11V11.2",
  audit: "M3.5 2H10L12.5 4.5V14H3.5ZM5.8 6.5H10.2M5.8 9H10.2M5.8 11.5H8.5",
  settings: "M2.5 4.5H8M11.5 4.5H13.5M8 4.5A1.7 1.7 0 1 1 11.4 4.5A1.7 1.7 0 1 1 8 4.5M2.5 11.5H4.5M8 11.5H13.5M4.6 11.5A1.7 1.7 0 1 1 8 11.5A1.7 1.7 0 1 1 4.6 11.5",
  search: "M7 2.5A4.5 4.5 0 1 1 7 11.5A4.5 4.5 0 1 1 7 2.5ZM10.3 10.3L13.7 13.7",
  sun: "M8 5.2A2.8 2.8 0 1 1 8 10.8A2.8 2.8 0 1 1 8 5.2ZM8 1.5V2.7M8 13.3V14.5M1.5 8H2.7M13.3 8H14.5M3.4 3.4L4.2 4.2M11.8 11.8L12.6 12.6M12.6 3.4L11.8 4.2M4.2 11.8L3.4 12.6",
  moon: "M13.5 9.6A5.8 5.8 0 1 1 6.4 2.5A4.6 4.6 0 0 0 13.5 9.6Z",
  system: "M2 3H14V11H2ZM6 13.5H10M8 11V13.5",
  pause: "M5.5 3.5V12.5M10.5 3.5V12.5",
  play: "M5 3L12.5 8L5 13Z",
  stop: "M4 4H12V12H4Z",
  close: "M4 4L12 12M12 4L4 12",
  check: "M3 8.5L6.5 12L13 4.5",
  copy: "M5.5 5.5H13.5V13.5H5.5ZM3.5 10.5H2.5V2.5H10.5V3.5",
  right: "M6 3.5L10.5 8L6 12.5",
  left: "M10 3.5L5.5 8L10 12.5",
  more: "M3.5 8H3.6M8 8H8.1M12.5 8H12.6",
  plus: "M8 3V13M3 8H13",
  retry: "M13 8A5 5 0 1 1 11.3 4.3M11.5 1.8V4.5H8.8",
  alert: "M8 2A6 6 0 1 1 8 14A6 6 0 1 1 8 2ZM8 5V8.7M8 10.8V11",
  trash: "M3 4.5H13M6.5 4.5V2.5H9.5V4.5M4.2 4.5L4.8 13.5H11.2L11.8 4.5",
  down: "M8 2.5V10.5M4.5 7.2L8 10.7L11.5 7.2M3 13.5H13",
  menu: "M2.5 4.5H13.5M2.5 8H13.5M2.5 11.5H13.5",
  edit: "M3 13H5.5L13 5.5L10.5 3L3 10.5Z",
  keys: "M1.8 4H14.2V12H1.8ZM4.5 6.7H4.6M7 6.7H7.1M9.5 6.7H9.6M12 6.7H12.1M5 9.5H11",
  logout: "M9.5 3H3V13H9.5M6.5 8H14M11.5 5.3L14.2 8L11.5 10.7",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  const dots = name === "more";
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth={dots ? 2 : 1.4}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

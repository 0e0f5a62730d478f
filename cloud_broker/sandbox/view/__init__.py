"""What people see in a browser: the pages, live, and the page that asks for their consent."""
